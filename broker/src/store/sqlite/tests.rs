//! The conformance suite on both kinds of embedded store, and what only a file can suffer.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::base::fault::Fault;
use crate::store::conformance::{conformance, ended, once, row};

mod in_memory {
    use super::*;
    conformance!((Sqlite::in_memory().unwrap(), ()));
}

mod on_disk {
    use super::*;
    conformance!({
        let directory = tempfile::tempdir().unwrap();
        (Sqlite::open(directory.path()).unwrap(), directory)
    });
}

#[tokio::test]
async fn grants_and_used_tokens_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let grant = row("migrate", "1");
    let store = Sqlite::open(directory.path()).unwrap();
    store.mint(grant.clone(), once("a"), 9).await.unwrap();
    drop(store);
    let store = Sqlite::open(directory.path()).unwrap();
    assert_eq!(store.live().await.unwrap().rows, std::slice::from_ref(&grant));
    let again = store.mint(row("migrate", "1"), once("a"), 9).await.unwrap();
    assert_eq!(again, Outcome::Refused(crate::store::MintRefusal::TokenReused));
    store.end(grant.id, ended("revoked")).await.unwrap();
    drop(store);
    assert_eq!(Sqlite::open(directory.path()).unwrap().live().await.unwrap().rows, []);
}

#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(directory.path()).unwrap();
    store.mint(row("migrate", "1"), once("a"), 9).await.unwrap();
    for name in ["store.db", "store.db-wal"] {
        let mode = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_second_broker_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Sqlite::open(directory.path()).unwrap();
    assert_eq!(Sqlite::open(directory.path()).unwrap_err(), StoreFault::Locked);
}

#[test]
fn a_newer_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(Sqlite::open(directory.path()).unwrap());
    let db = Connection::open(directory.path().join("store.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let fault = Sqlite::open(directory.path()).unwrap_err();
    assert_eq!(fault, StoreFault::TooNew { found: 99, known: 2 });
    assert_eq!(fault.code(), "store-too-new");
}

#[test]
fn what_is_not_a_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    for bytes in [
        &b""[..],
        b"not a database, but something of the operator's",
        &[0_u8; 8192],
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(
            Sqlite::open(directory.path()).unwrap_err().code(),
            "store-corrupt",
            "{} bytes",
            bytes.len()
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    // Somebody else's SQLite file.
    fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert_eq!(Sqlite::open(directory.path()).unwrap_err().code(), "store-corrupt");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let fault = Sqlite::open(Path::new("/no/such/place")).unwrap_err();
    assert_eq!(fault.code(), "store-unavailable");
    assert!(fault.to_string().contains("/no/such/place/store.db"), "{fault}");
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = Sqlite::open(directory.path()).unwrap();
    let grant = row("migrate", "1");
    store.mint(grant.clone(), once("a"), 9).await.unwrap();
    store.end(grant.id, ended("revoked")).await.unwrap();
    drop(store);
    // A revocation that is lost in the columns is still in the sealed body.
    let raw = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    raw("UPDATE grants SET ended_at = NULL");
    let store = Sqlite::open(directory.path()).unwrap();
    assert_eq!(store.live().await.unwrap_err().code(), "store-corrupt");
    drop(store);
    raw("UPDATE grants SET body = replace(body, 'revoked', 'revokee')");
    let store = Sqlite::open(directory.path()).unwrap();
    assert_eq!(store.grant(grant.id).await.unwrap_err().code(), "store-corrupt");
}

/// Cut short, or with flipped bytes: the store opens with what was written, or refuses; it never forgets an ending.
#[tokio::test]
async fn damaged_files_are_recovered_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = Sqlite::open(directory.path()).unwrap();
    let (over, live) = (row("migrate", "1"), row("migrate", "2"));
    store.mint(over.clone(), once("a"), 9).await.unwrap();
    store.mint(live.clone(), once("b"), 9).await.unwrap();
    store.end(over.id, ended("revoked")).await.unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..100_usize {
        let mut bytes = whole.clone();
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let place = usize::try_from(seed >> 33).unwrap() % bytes.len();
        if round % 4 == 0 {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << (round % 8);
        }
        fs::write(&path, &bytes).unwrap();
        for log in ["store.db-wal", "store.db-journal"] {
            let _ = fs::remove_file(directory.path().join(log));
        }
        let restored = match Sqlite::open(directory.path()) {
            Ok(store) => store.live().await,
            Err(fault) => Err(fault),
        };
        match restored {
            Ok(restored) => assert!(
                restored.rows.iter().all(|row| row.id == live.id),
                "round {round}: an ended grant came back"
            ),
            Err(fault) => {
                assert_eq!(fault.kind().label(), "store");
                refused += 1;
            }
        }
    }
    assert!(refused > 20, "only {refused} of 100 damages were noticed");
}

#[tokio::test]
async fn ten_thousand_live_grants_load() {
    let store = Arc::new(Sqlite::in_memory().unwrap());
    let mut mints = tokio::task::JoinSet::new();
    for job in 0..10_000 {
        let store = Arc::clone(&store);
        mints.spawn(async move {
            store
                .mint(row("migrate", &job.to_string()), once(&job.to_string()), u32::MAX)
                .await
        });
    }
    assert!(mints.join_all().await.into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!(store.live().await.unwrap().rows.len(), 10_000);
}

#[tokio::test]
async fn a_failed_call_undoes_only_itself() {
    let store = Sqlite::in_memory().unwrap();
    let good = store.call(|db| Ok(db.execute("INSERT INTO marks VALUES ('a', 1)", [])?));
    let bad: Answer<'_, ()> = store.call(|db| {
        db.execute("INSERT INTO marks VALUES ('b', 1)", [])?;
        Err(StoreFault::Unavailable("on purpose".into()))
    });
    let (good, bad) = tokio::join!(good, bad);
    assert_eq!(good.unwrap(), 1);
    assert!(bad.is_err());
    let names = store.call(|db| {
        Ok(db.query_row("SELECT group_concat(name) FROM marks", [], |row| {
            row.get::<_, String>(0)
        })?)
    });
    assert_eq!(names.await.unwrap(), "a");
    assert_eq!(store.live().await.unwrap().seen_at, None);
}
