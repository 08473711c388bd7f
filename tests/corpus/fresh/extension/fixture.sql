-- What extensions and a user's own operators put beside the server's must not stop statements that do not mean them.
CREATE SCHEMA app; CREATE SCHEMA hidden;
CREATE EXTENSION citext SCHEMA public;
CREATE EXTENSION hstore SCHEMA public;
CREATE EXTENSION intarray SCHEMA public;
CREATE EXTENSION ltree SCHEMA public;
CREATE EXTENSION pg_trgm SCHEMA public;
CREATE EXTENSION cube SCHEMA public;
CREATE TABLE app.people(id int PRIMARY KEY, name text, tags int[], props jsonb, at timestamptz DEFAULT now(), big bigint, kind varchar(10));
INSERT INTO app.people VALUES (1, 'Ann', '{1,2}', '{"a": 1}', '2024-05-05', 7, 'k'), (2, 'Bob', '{3}', '{"b": 2}', '2024-06-06', 8, NULL);
CREATE TYPE app.kind AS ENUM ('a', 'b');
CREATE FUNCTION hidden.mixed(macaddr, app.kind) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR public.= (leftarg = macaddr, rightarg = app.kind, function = hidden.mixed);
CREATE FUNCTION public.upper(app.kind) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
CREATE FUNCTION public.concat(app.kind, app.kind) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
ANALYZE;
