-- All rules of a writer, under read-only.
CREATE TABLE notes(id serial PRIMARY KEY, note text);
INSERT INTO notes(note) VALUES ('x');
CREATE FUNCTION put() RETURNS text LANGUAGE sql AS $$INSERT INTO public.notes(note) VALUES ('pwn') RETURNING note$$;
CREATE FUNCTION lift() RETURNS text LANGUAGE sql AS $$SELECT set_config('default_transaction_read_only', 'off', false)$$;
CREATE FUNCTION lift_now() RETURNS text LANGUAGE sql AS $$SELECT set_config('transaction_read_only', 'off', false)$$;
CREATE FUNCTION count_up() RETURNS bigint LANGUAGE sql AS $$SELECT nextval('public.notes_id_seq')$$;
CREATE FUNCTION checked(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM set_config('default_transaction_read_only', 'off', false); RETURN true; END$$;
CREATE DOMAIN lifting AS text CHECK (checked(VALUE));
ANALYZE;
