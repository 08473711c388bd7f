-- One row per grant. `body` is the whole grant as JSON and `seal` its SHA-256: a flipped byte is found when the row is
-- read. The other columns repeat what look-ups need.
CREATE TABLE grants (
    id            TEXT PRIMARY KEY,
    issuer        TEXT NOT NULL,
    repository_id TEXT NOT NULL,
    repository    TEXT NOT NULL,
    scope         TEXT NOT NULL,
    database      TEXT NOT NULL,
    key           BLOB,
    ended_at      INTEGER,
    body          TEXT NOT NULL,
    seal          BLOB NOT NULL,
    totals        TEXT NOT NULL
) STRICT;
CREATE INDEX grants_live ON grants (issuer, repository_id, scope) WHERE ended_at IS NULL;
CREATE INDEX grants_live_key ON grants (key) WHERE ended_at IS NULL AND key IS NOT NULL;
CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL;

-- Every token that became a grant, until it can no longer be valid. `proof` is SHA-256 of the key that may bring the
-- token again, for issuers that give one token per job.
CREATE TABLE used_tokens (
    issuer     TEXT NOT NULL,
    jti        BLOB NOT NULL,
    keep_until INTEGER NOT NULL,
    scope      TEXT NOT NULL,
    grant_id   TEXT NOT NULL,
    proof      BLOB,
    PRIMARY KEY (issuer, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_tokens_age ON used_tokens (keep_until);

-- Idempotency keys whose caller gave up: a request still on its way must not mint a grant nobody will revoke.
CREATE TABLE closed_keys (
    key        BLOB PRIMARY KEY,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `seen_at`: the latest wall-clock time this store has seen, so that a clock set back across a restart extends nothing.
CREATE TABLE marks (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
