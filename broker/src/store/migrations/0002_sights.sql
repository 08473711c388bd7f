-- What columns were called when a policy first spoke of them. `place` is the operator's name of the database, the
-- server's identity and the database's number there. `scope` is empty for masks and for relations that nobody reaches.
CREATE TABLE sights (
    place    TEXT NOT NULL,
    scope    TEXT NOT NULL,
    oid      INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    schema   TEXT NOT NULL,
    relation TEXT NOT NULL,
    column   TEXT NOT NULL,
    PRIMARY KEY (place, scope, oid, number, schema, relation, column)
) STRICT, WITHOUT ROWID;
