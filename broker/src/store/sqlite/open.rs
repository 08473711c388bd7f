//! Opening the file: made whole or not at all, checked before use, upgraded by numbered migrations, held alone.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::store::StoreFault;

/// Applied in order; `PRAGMA user_version` says how many already are.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_grants.sql"),
    include_str!("../migrations/0002_sights.sql"),
];
/// Marks the file as this product's: the letters `hdba`.
const APPLICATION_ID: i64 = 0x6864_6261;
/// A broker that is being replaced gets this long to let go of the file.
const LOCK_WAIT: Duration = Duration::from_secs(2);

pub fn memory() -> Result<Connection, StoreFault> {
    let db = Connection::open_in_memory()?;
    migrate(&db)?;
    tune(&db)?;
    Ok(db)
}

pub fn file(path: &Path) -> Result<Connection, StoreFault> {
    let place =
        |what: &str, error: std::io::Error| StoreFault::Unavailable(format!("{what} {}: {error}", path.display()));
    match fs::metadata(path) {
        Ok(found) if found.len() == 0 => {
            return Err(StoreFault::Corrupt(format!("{} is empty", path.display())));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path)?,
        Err(error) => return Err(place("cannot read", error)),
    }
    let own_only = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, own_only).map_err(|error| place("cannot protect", error))?;
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(LOCK_WAIT)?;
    // Held until the process ends: two brokers on one store would each believe in their own live grants.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
    check(&db)?;
    migrate(&db)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    tune(&db)?;
    Ok(db)
}

/// Builds a new store beside its place and moves it there, so that a crash leaves no half-made one.
fn create(path: &Path) -> Result<(), StoreFault> {
    let fault = |error: std::io::Error| StoreFault::Unavailable(format!("cannot make {}: {error}", path.display()));
    let draft = path.with_extension("db.new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft);
    drop(made.map_err(fault)?);
    let db = Connection::open(&draft)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    migrate(&db)?;
    db.close().map_err(|(_, error)| error)?;
    fs::rename(&draft, path).map_err(fault)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(fault)
}

fn tune(db: &Connection) -> Result<(), StoreFault> {
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    // Deleted verifiers and digests are overwritten, not left in free pages.
    db.pragma_update(None, "secure_delete", "ON")?;
    db.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(())
}

fn check(db: &Connection) -> Result<(), StoreFault> {
    let id: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(StoreFault::Corrupt("this is not a store of this broker".into()));
    }
    let verdict: String = db.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(StoreFault::Corrupt(verdict))
    }
}

fn migrate(db: &Connection) -> Result<(), StoreFault> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreFault::TooNew { found, known });
    }
    let done = usize::try_from(found).map_err(|_| StoreFault::Corrupt(format!("it claims version {found}")))?;
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(done) {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE; {migration} PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        ))?;
    }
    Ok(())
}
