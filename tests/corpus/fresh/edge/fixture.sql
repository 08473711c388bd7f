-- People with masked columns, a decoy of the same name in public, and what newer servers have. vault.*: nothing.
CREATE ROLE app_owner; CREATE SCHEMA app AUTHORIZATION app_owner; CREATE SCHEMA vault;
CREATE TABLE vault.tokens (id int PRIMARY KEY, token text);
INSERT INTO vault.tokens VALUES (1, 'tok-SECRET-0001');
CREATE FUNCTION vault.tell(text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN RAISE NOTICE 'saw %', (SELECT token FROM vault.tokens); RETURN true; END$$;
CREATE FUNCTION vault.first() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT token FROM vault.tokens';
GRANT USAGE ON SCHEMA vault TO app_owner;
SET ROLE app_owner;
CREATE TABLE app.people (
  id int PRIMARY KEY, name text NOT NULL, ssn text, mail text, born date, pay numeric(10,2), doc jsonb, tags text[], city text,
  initial text GENERATED ALWAYS AS (left(name, 1)) STORED);
INSERT INTO app.people (id, name, ssn, mail, born, pay, doc, tags, city) VALUES
  (1, 'Ann', '123-45-6789', 'ann.secret@corp.example', '1980-05-17', 1234.56, '{"ssn": "123-45-6789", "k": 1}', '{tok-SECRET-a,b}', 'Ulm'),
  (2, 'Bob', '987-65-4321', 'bob.secret@corp.example', '1990-12-31', 7777.77, '{"ssn": "987-65-4321"}', NULL, 'Bonn');
CREATE MATERIALIZED VIEW app.mv_people AS SELECT id, ssn FROM app.people;
CREATE TABLE app.items (id int PRIMARY KEY, label text, price int);
INSERT INTO app.items VALUES (1, 'pen', 2), (2, 'ink', 3), (3, 'cup', 4);
CREATE MATERIALIZED VIEW app.mv_items AS SELECT id, label FROM app.items;
CREATE TABLE app.log (id int, line text);
CREATE TABLE app.made_base (id int PRIMARY KEY, ssn text, note text, twice int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO app.made_base VALUES (1, '123-45-6789', 'n');
CREATE DOMAIN app.noisy AS text CHECK (vault.tell(VALUE));
RESET ROLE;
CREATE TABLE public.people (id int, name text, ssn text, mail text, token text, city text);
INSERT INTO public.people VALUES (1, 'decoy', 'none', 'none', 'none', 'Ulm');
CREATE TABLE public.tokens (id int, token text);
INSERT INTO public.tokens VALUES (1, 'none');
SELECT current_setting('server_version_num')::int >= 180000 AS newer \gset
\if :newer
  CREATE EXTENSION btree_gist;
  SET ROLE app_owner;
  CREATE TABLE app.virt (id int PRIMARY KEY, ssn text, note text, v text GENERATED ALWAYS AS ('v' || ssn) VIRTUAL, n text GENERATED ALWAYS AS (note || '!') VIRTUAL);
  INSERT INTO app.virt VALUES (1, '123-45-6789', 'x');
  CREATE TABLE app.made_virt (id int PRIMARY KEY, ssn text, n text GENERATED ALWAYS AS ('n') VIRTUAL);
  INSERT INTO app.made_virt VALUES (1, '123-45-6789');
  CREATE TABLE app.stays (room int, span daterange, ssn text, PRIMARY KEY (room, span WITHOUT OVERLAPS));
  INSERT INTO app.stays VALUES (1, '[2024-01-01,2024-02-01)', '123-45-6789');
  CREATE TABLE app.spans (room int, span daterange, UNIQUE (room, span WITHOUT OVERLAPS));
  INSERT INTO app.spans VALUES (1, '[2024-01-01,2024-02-01)');
  CREATE TABLE app.guests (room int, span daterange, name text, FOREIGN KEY (room, PERIOD span) REFERENCES app.stays);
  INSERT INTO app.guests VALUES (1, '[2024-01-03,2024-01-05)', 'Ann');
  CREATE TABLE app.lax (id int, price int, CONSTRAINT dear CHECK (price > 10) NOT ENFORCED);
  INSERT INTO app.lax VALUES (1, 1);
  RESET ROLE;
\else
  SET ROLE app_owner;
  CREATE TABLE app.virt (id int PRIMARY KEY, ssn text, note text);
  CREATE TABLE app.made_virt (id int PRIMARY KEY, ssn text, n text);
  CREATE TABLE app.stays (room int, span daterange, ssn text);
  CREATE TABLE app.spans (room int, span daterange);
  INSERT INTO app.virt VALUES (1, '123-45-6789', 'x');
  RESET ROLE;
\endif
ANALYZE;
