-- What people type into psql. Errors are asked for; the script goes on after them.
\d
\d app.orders
\d+ app.orders
\dt app.*
\di app.*
\ds app.*
\df
\dn
\du
\dp app.orders
\dT
\dx
\l
\conninfo
SELECT count(*) AS n FROM app.orders \gset
\echo counted :n
SELECT 'SELECT ''generated ' || i || '''' FROM generate_series(1, 2) AS i \gexec
SELECT id, amount FROM app.orders \gdesc
SELECT 1 AS a \; SELECT 2 AS b;

BEGIN;
SAVEPOINT a;
INSERT INTO app.notes VALUES (1, 'rolled back');
ROLLBACK TO a;
INSERT INTO app.notes VALUES (2, 'kept');
RELEASE a;
COMMIT;
SELECT count(*) AS n FROM app.notes \gset
\echo savepoints :n

\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO app.notes VALUES (3, 'kept as well');
SELECT 1 / 0;
\echo SQLSTATE :SQLSTATE
SELECT token FROM app.card_tokens;
\echo SQLSTATE :SQLSTATE
COMMIT;
SELECT count(*) AS n FROM app.notes WHERE id = 3 \gset
\echo kept after an error :n
\set ON_ERROR_ROLLBACK off

\set FETCH_COUNT 7
SELECT 'cursor batches ' || id FROM app.orders ORDER BY id;
\unset FETCH_COUNT
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM app.orders ORDER BY id;
FETCH 3 FROM c;
MOVE 2 IN c;
FETCH BACKWARD 1 FROM c;
CLOSE c;
COMMIT;

\copy app.notes from program 'seq 1000 5999 | sed "s/$/\tcopied/"'
\copy (SELECT id FROM app.notes ORDER BY id) to program 'cat > /dev/null' csv header
COPY app.notes (id, body) FROM STDIN;
7001	from a script
\.
SELECT 'copied ' || count(*) FROM app.notes;
COPY (SELECT * FROM app.notes WHERE id > 7000) TO STDOUT (DELIMITER '|');
COPY app.card_tokens FROM STDIN;
DROP TABLE app.notes;
\.

SET statement_timeout = '5s';
SHOW statement_timeout;
RESET ALL;
PREPARE by_id (int) AS SELECT 'prepared ' || note FROM app.orders WHERE id = $1;
EXECUTE by_id(3);
DEALLOCATE by_id;
EXPLAIN SELECT * FROM app.orders;
LISTEN changed;
NOTIFY changed, 'one';

BEGIN;
CREATE TABLE app.made (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now());
CREATE INDEX made_at ON app.made (at);
INSERT INTO app.made DEFAULT VALUES;
ALTER TABLE app.made ADD COLUMN what text DEFAULT 'x';
INSERT INTO app.made (what) VALUES ('y');
COMMIT;
\d app.made
SELECT 'made ' || count(*) || ' rows' FROM app.made;
CREATE VIEW app.seen AS SELECT id FROM app.made;
\d+ app.seen
DROP VIEW app.seen;
TRUNCATE app.made;
DROP TABLE app.made;
VACUUM app.notes;
\echo last line
