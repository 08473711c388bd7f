CREATE ROLE hr_owner; CREATE SCHEMA hr AUTHORIZATION hr_owner; SET ROLE hr_owner;
CREATE DOMAIN hr.mail AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE hr.mood AS ENUM ('calm', 'cross');
CREATE TABLE hr.people (
  id int PRIMARY KEY, name text NOT NULL CHECK (name <> ''), email hr.mail UNIQUE, ssn text NOT NULL UNIQUE CHECK (ssn ~ '^[0-9]{3}-[0-9]{2}-[0-9]{4}$'),
  born date, salary numeric(10,2), extra jsonb, tags text[], mood hr.mood, city text,
  initial text GENERATED ALWAYS AS (left(name, 1)) STORED, ssn_end text GENERATED ALWAYS AS (ssn || '') STORED);
INSERT INTO hr.people (id, name, email, ssn, born, salary, extra, tags, mood, city) VALUES
  (1, 'Ann', 'ann.secret@corp.example', '123-45-6789', '1980-05-17', 1234.56, '{"ssn": "123-45-6789", "k": 1}', '{tok-SECRET-a,b}', 'calm', 'Ulm'),
  (2, 'Bob', 'bob.secret@corp.example', '987-65-4321', '1990-12-31', 7777.77, '{"ssn": "987-65-4321"}', NULL, 'cross', 'Bonn'),
  (3, 'Cyd', 'cyd.secret@corp.example', '555-44-3333', '1985-01-01', 5000, NULL, '{}', 'cross', 'Ulm');
CREATE INDEX people_mail ON hr.people (lower(email::text));
CREATE TABLE hr.vip (level int) INHERITS (hr.people);
INSERT INTO hr.vip (id, name, email, ssn, level) VALUES (9, 'Vip', 'vip.secret@corp.example', '111-22-3333', 1);
CREATE TABLE hr.orders (id int PRIMARY KEY, person int REFERENCES hr.people (id), note text, amount numeric);
INSERT INTO hr.orders VALUES (10, 1, 'a', 10), (11, 2, 'b', 20), (12, 3, 'c', 30);
CREATE TABLE hr.links (mail text REFERENCES hr.people (email), note text);
CREATE TABLE hr.visits (id int, ssn text, at date) PARTITION BY RANGE (at);
CREATE TABLE hr.visits_2024 PARTITION OF hr.visits FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO hr.visits VALUES (1, '123-45-6789', '2024-05-05');
CREATE VIEW hr.v_people AS SELECT * FROM hr.people;
CREATE VIEW hr.v_mail AS SELECT id, email AS contact FROM hr.people;
CREATE MATERIALIZED VIEW hr.mv_people AS SELECT id, ssn FROM hr.people;
CREATE TABLE hr.keyed (ssn text PRIMARY KEY, pub text) PARTITION BY LIST (ssn);
CREATE TABLE hr.keyed_a PARTITION OF hr.keyed FOR VALUES IN ('123-45-6789');
CREATE TABLE hr.keyed_b PARTITION OF hr.keyed DEFAULT;
INSERT INTO hr.keyed VALUES ('123-45-6789', 'a'), ('987-65-4321', 'b');
CREATE TABLE hr.kept (id int PRIMARY KEY);
ALTER TABLE hr.kept ADD COLUMN pin text DEFAULT 'tok-SECRET-d';
CREATE TABLE hr.pins (id int PRIMARY KEY, pin int, note text, EXCLUDE USING btree (pin WITH =));
INSERT INTO hr.pins VALUES (1, 4711, 'n'), (2, 815, 'm');
CREATE TABLE hr.late (id int PRIMARY KEY, mail text UNIQUE);
CREATE TABLE hr.later (mail text REFERENCES hr.late (mail) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO hr.late VALUES (1, 'ann.secret@corp.example');
INSERT INTO hr.later SELECT mail FROM hr.late;
CREATE VIEW hr.v_pub AS SELECT id, name, city FROM hr.people;
CREATE VIEW hr.v_cond AS SELECT id, name, city FROM hr.people WHERE ssn LIKE '111%';
CREATE FUNCTION hr.mail_of(hr.people) RETURNS text LANGUAGE sql AS 'SELECT $1.email::text';
CREATE FUNCTION hr.same_row(hr.people, hr.people) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'row %', $1; RETURN true; END$$;
CREATE OPERATOR hr.=== (leftarg = hr.people, rightarg = hr.people, function = hr.same_row);
CREATE FUNCTION hr.loud(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'saw %', $1; RETURN $1; END$$;
CREATE FUNCTION hr.all_of() RETURNS SETOF hr.people LANGUAGE sql AS 'SELECT * FROM hr.people';
CREATE STATISTICS hr.people_st ON city, ssn FROM hr.people;
RESET ROLE;
CREATE FUNCTION public.contact(hr.people) RETURNS text LANGUAGE sql AS 'SELECT $1.email::text';
CREATE EXTENSION pageinspect;
ANALYZE;
