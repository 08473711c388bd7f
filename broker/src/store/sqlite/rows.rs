//! The statements of the embedded store. Every function runs inside the writer's transaction.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::base::id::GrantId;
use crate::sql::bound::Sight;
use crate::store::{
    Digest, EndOutcome, Ended, Filter, GrantRow, MintRefusal, Outcome, Purge, Replay, Restored, StoreFault, TokenUse,
    TotalsRow,
};

/// Decides first and writes after, so that a refusal leaves nothing behind.
pub fn mint(db: &Connection, grant: &GrantRow, token: &TokenUse, cap: u32) -> Result<Outcome, StoreFault> {
    let mut replaced = BTreeMap::new();
    if let Some(key) = grant.key {
        if key_is_closed(db, key)? {
            return Ok(Outcome::Refused(MintRefusal::KeyClosed));
        }
        if let Some(earlier) = live_by_key(db, key)? {
            if !earlier.same_job(grant) {
                return Ok(Outcome::Refused(MintRefusal::KeyInUse));
            }
            replaced.insert(earlier.id, earlier);
        }
    }
    match used_token(db, token)? {
        None => {}
        Some(used) => match used.may_come_again(token, &grant.scope) {
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
            Ok(earlier) => {
                let earlier = self::grant(db, earlier)?.map(|(row, _)| row);
                if let Some(row) = earlier.filter(|row| row.ended.is_none()) {
                    replaced.insert(row.id, row);
                }
            }
        },
    }
    let live = count_live(db, grant)?;
    let leaving = u32::try_from(replaced.len()).unwrap_or(u32::MAX);
    if live.saturating_sub(leaving) >= cap {
        return Ok(Outcome::Refused(MintRefusal::Busy { live, cap }));
    }
    for row in replaced.values() {
        let ended = Ended {
            kind: "revoked".into(),
            reason: "replaced by a repeated request of the same job".into(),
            at: grant.created_at,
        };
        write_ended(db, row, &ended)?;
    }
    use_token(db, token, grant)?;
    insert(db, grant)?;
    Ok(Outcome::Minted {
        replaced: replaced.into_keys().collect(),
    })
}

struct UsedToken {
    scope: String,
    grant: GrantId,
    proof: Option<Digest>,
}

impl UsedToken {
    /// The earlier grant of this token, when the caller holds the key it is bound to.
    fn may_come_again(&self, token: &TokenUse, scope: &str) -> Result<GrantId, MintRefusal> {
        let Replay::Bind { key: Some(key), .. } = token.replay else {
            return Err(MintRefusal::TokenReused);
        };
        let proof = self.proof.ok_or(MintRefusal::TokenReused)?;
        let holds_key = subtle::ConstantTimeEq::ct_eq(proof.as_bytes().as_slice(), key.as_bytes().as_slice());
        if bool::from(holds_key) && self.scope == scope {
            Ok(self.grant)
        } else {
            Err(MintRefusal::ProofMismatch)
        }
    }
}

fn used_token(db: &Connection, token: &TokenUse) -> Result<Option<UsedToken>, StoreFault> {
    let found = db
        .prepare_cached("SELECT scope, grant_id, proof FROM used_tokens WHERE issuer = ?1 AND jti = ?2")?
        .query_row(params![token.issuer, token.jti.as_bytes()], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, Option<[u8; 32]>>(2)?,
            ))
        })
        .optional()?;
    let Some((scope, grant, proof)) = found else {
        return Ok(None);
    };
    let grant = grant
        .parse()
        .map_err(|error| StoreFault::Corrupt(format!("a used token names {error}")))?;
    let proof = proof.map(Digest::from_bytes);
    Ok(Some(UsedToken { scope, grant, proof }))
}

fn use_token(db: &Connection, token: &TokenUse, grant: &GrantRow) -> Result<(), StoreFault> {
    let proof = match token.replay {
        Replay::Once => None,
        // A caller whose first request was lost repeats it with the key; its digest is the proof.
        Replay::Bind { proof, key } => proof.or(key),
    };
    db.prepare_cached(
        "INSERT INTO used_tokens (issuer, jti, keep_until, scope, grant_id, proof) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (issuer, jti) DO UPDATE SET grant_id = excluded.grant_id",
    )?
    .execute(params![
        token.issuer,
        token.jti.as_bytes(),
        token.keep_until.as_microsecond(),
        grant.scope,
        grant.id.to_string(),
        proof.as_ref().map(Digest::as_bytes),
    ])?;
    Ok(())
}

fn key_is_closed(db: &Connection, key: Digest) -> Result<bool, StoreFault> {
    let mut statement = db.prepare_cached("SELECT 1 FROM closed_keys WHERE key = ?1")?;
    Ok(statement.exists([key.as_bytes()])?)
}

fn live_by_key(db: &Connection, key: Digest) -> Result<Option<GrantRow>, StoreFault> {
    db.prepare_cached("SELECT id, ended_at, body, seal FROM grants WHERE key = ?1 AND ended_at IS NULL")?
        .query_row([key.as_bytes()], sealed)
        .optional()?
        .map(Sealed::open)
        .transpose()
}

fn count_live(db: &Connection, grant: &GrantRow) -> Result<u32, StoreFault> {
    let mut statement = db.prepare_cached(
        "SELECT count(*) FROM grants WHERE issuer = ?1 AND repository_id = ?2 AND scope = ?3 AND ended_at IS NULL",
    )?;
    let key = params![grant.claims.issuer, grant.claims.repository_id, grant.scope];
    Ok(statement.query_row(key, |row| row.get(0))?)
}

fn insert(db: &Connection, grant: &GrantRow) -> Result<(), StoreFault> {
    let (body, seal) = seal(grant)?;
    db.prepare_cached(
        "INSERT INTO grants (id, issuer, repository_id, repository, scope, database, key, body, seal, totals)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, '{}')",
    )?
    .execute(params![
        grant.id.to_string(),
        grant.claims.issuer,
        grant.claims.repository_id,
        grant.claims.repository,
        grant.scope,
        grant.database,
        grant.key.as_ref().map(Digest::as_bytes),
        body,
        seal.as_bytes(),
    ])?;
    Ok(())
}

pub fn end(db: &Connection, id: GrantId, ended: &Ended) -> Result<EndOutcome, StoreFault> {
    match grant(db, id)? {
        None => Ok(EndOutcome::Unknown),
        Some((row, _)) if row.ended.is_some() => Ok(EndOutcome::Already),
        Some((row, _)) => write_ended(db, &row, ended).map(|()| EndOutcome::First),
    }
}

fn write_ended(db: &Connection, row: &GrantRow, ended: &Ended) -> Result<(), StoreFault> {
    let row = GrantRow {
        ended: Some(ended.clone()),
        ..row.clone()
    };
    let (body, seal) = seal(&row)?;
    db.prepare_cached("UPDATE grants SET ended_at = ?2, body = ?3, seal = ?4 WHERE id = ?1")?
        .execute(params![
            row.id.to_string(),
            ended.at.as_microsecond(),
            body,
            seal.as_bytes()
        ])?;
    Ok(())
}

pub fn close_key(
    db: &Connection,
    key: Digest,
    ended: &Ended,
    keep_until: Timestamp,
) -> Result<Option<GrantId>, StoreFault> {
    db.prepare_cached("INSERT OR REPLACE INTO closed_keys (key, keep_until) VALUES (?1, ?2)")?
        .execute(params![key.as_bytes(), keep_until.as_microsecond()])?;
    let Some(row) = live_by_key(db, key)? else {
        return Ok(None);
    };
    write_ended(db, &row, ended)?;
    Ok(Some(row.id))
}

pub fn grant(db: &Connection, id: GrantId) -> Result<Option<(GrantRow, TotalsRow)>, StoreFault> {
    let found = db
        .prepare_cached("SELECT id, ended_at, body, seal, totals FROM grants WHERE id = ?1")?
        .query_row([id.to_string()], |row| Ok((sealed(row)?, row.get::<_, String>(4)?)))
        .optional()?;
    found
        .map(|(row, totals)| Ok((row.open()?, read_totals(&totals)?)))
        .transpose()
}

pub fn live(db: &Connection) -> Result<Restored, StoreFault> {
    let rows = db
        .prepare_cached("SELECT id, ended_at, body, seal FROM grants WHERE ended_at IS NULL")?
        .query_and_then([], |row| sealed(row)?.open())?
        .collect::<Result<Vec<_>, StoreFault>>()?;
    let seen: Option<i64> = db
        .query_row("SELECT value FROM marks WHERE name = 'seen_at'", [], |row| row.get(0))
        .optional()?;
    let seen_at = seen.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    Ok(Restored { rows, seen_at })
}

pub fn matching(db: &Connection, filter: &Filter) -> Result<Vec<GrantId>, StoreFault> {
    let meant = |row: &GrantRow| filter.covers(row.id, &row.scope, &row.database, &row.claims);
    Ok(live(db)?.rows.into_iter().filter(meant).map(|row| row.id).collect())
}

pub fn add_totals(db: &Connection, id: GrantId, more: &TotalsRow) -> Result<(), StoreFault> {
    let found: Option<String> = db
        .prepare_cached("SELECT totals FROM grants WHERE id = ?1")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()?;
    let Some(text) = found else {
        return Ok(());
    };
    let mut totals = read_totals(&text)?;
    totals.add(more);
    let text = serde_json::to_string(&totals).map_err(|error| unwritable(&error))?;
    db.prepare_cached("UPDATE grants SET totals = ?2 WHERE id = ?1")?
        .execute(params![id.to_string(), text])?;
    Ok(())
}

pub fn purge(db: &Connection, purge: &Purge) -> Result<u64, StoreFault> {
    db.prepare_cached(
        "INSERT INTO marks (name, value) VALUES ('seen_at', ?1)
         ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
    )?
    .execute([purge.now.as_microsecond()])?;
    let kept = purge.kept_until_before.as_microsecond();
    let mut gone = db
        .prepare_cached("DELETE FROM used_tokens WHERE keep_until < ?1")?
        .execute([kept])?;
    gone += db
        .prepare_cached("DELETE FROM closed_keys WHERE keep_until < ?1")?
        .execute([kept])?;
    gone += db
        .prepare_cached("DELETE FROM grants WHERE ended_at < ?1")?
        .execute([purge.ended_before.as_microsecond()])?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

pub fn see(db: &Connection, place: &str, new: &[Sight]) -> Result<BTreeSet<Sight>, StoreFault> {
    let mut insert = db.prepare_cached("INSERT OR IGNORE INTO sights VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for sight in new {
        insert.execute(params![
            place,
            sight.scope,
            sight.oid,
            sight.number,
            sight.schema,
            sight.table,
            sight.column
        ])?;
    }
    let mut select =
        db.prepare_cached("SELECT scope, oid, number, schema, relation, column FROM sights WHERE place = ?1")?;
    let rows = select.query_map([place], |row| {
        Ok(Sight {
            scope: row.get(0)?,
            oid: row.get(1)?,
            number: row.get(2)?,
            schema: row.get(3)?,
            table: row.get(4)?,
            column: row.get(5)?,
        })
    })?;
    rows.map(|row| row.map_err(StoreFault::from)).collect()
}

/// A row of `grants` as read, not yet trusted.
struct Sealed {
    id: String,
    over: bool,
    body: String,
    seal: [u8; 32],
}

fn sealed(row: &rusqlite::Row<'_>) -> rusqlite::Result<Sealed> {
    Ok(Sealed {
        id: row.get(0)?,
        over: row.get::<_, Option<i64>>(1)?.is_some(),
        body: row.get(2)?,
        seal: row.get(3)?,
    })
}

impl Sealed {
    /// Trusts the row only when its bytes are the ones that were written and its columns agree with them.
    fn open(self) -> Result<GrantRow, StoreFault> {
        let damaged = || StoreFault::Corrupt(format!("the row of {} does not match its seal", self.id));
        if Digest::of(self.body.as_bytes()).as_bytes() != &self.seal {
            return Err(damaged());
        }
        let row: GrantRow = serde_json::from_str(&self.body).map_err(|_| damaged())?;
        if row.id.to_string() != self.id || row.ended.is_some() != self.over {
            return Err(damaged());
        }
        Ok(row)
    }
}

fn seal(row: &GrantRow) -> Result<(String, Digest), StoreFault> {
    let body = serde_json::to_string(row).map_err(|error| unwritable(&error))?;
    let seal = Digest::of(body.as_bytes());
    Ok((body, seal))
}

fn read_totals(text: &str) -> Result<TotalsRow, StoreFault> {
    if text == "{}" {
        return Ok(TotalsRow::default());
    }
    serde_json::from_str(text).map_err(|error| StoreFault::Corrupt(format!("a grant's totals: {error}")))
}

fn unwritable(error: &serde_json::Error) -> StoreFault {
    StoreFault::Unavailable(format!("a row cannot be written: {error}"))
}
