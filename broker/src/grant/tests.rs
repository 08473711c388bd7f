//! A grant's life on a store in memory: minted, entered, cut, ended, taken up again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::testing::{FakeAdmission, Flaky, House, START, ask, scope};
use super::*;
use crate::base::secret::{Prefix, Secret};
use crate::store::{Digest, Filter, Sqlite};

#[tokio::test]
async fn a_token_becomes_a_grant_that_is_recorded_stored_and_findable() {
    let house = House::default();
    let ask = Ask {
        ttl: Some(Duration::from_mins(5)),
        reason: Some("release 7".into()),
        ..ask("migrate")
    };
    let minted = house.grants.open("good-1", &ask).await.unwrap();
    let live = house.grants.registry().find(&minted.grant.id.to_string()).unwrap();
    assert_eq!(live.expires_at, START + SignedDuration::from_mins(5));
    assert_eq!(live.ends_at, START + SignedDuration::from_mins(45));
    assert!(Secret::well_formed(Prefix::Password, minted.password.expose()));
    assert!(Secret::well_formed(Prefix::Revoke, minted.revoke_token.expose()));
    assert_eq!(house.audit.names(), ["grant.minted"]);
    let (row, _) = house.store.grant(live.id).await.unwrap().unwrap();
    assert_eq!(row.verifier, live.verifier.to_text());
    assert_eq!(row.reason.as_deref(), Some("release 7"));
    let stored = serde_json::to_string(&row).unwrap();
    for secret in [&minted.password, &minted.revoke_token] {
        assert!(!stored.contains(secret.expose()));
    }
    assert!(house.grants.registry().find("postgres").is_none());
}

#[tokio::test]
async fn a_longer_ttl_than_the_scopes_is_never_given() {
    let house = House::default();
    let ask = Ask {
        ttl: Some(Duration::from_hours(9)),
        ..ask("migrate")
    };
    let minted = house.grants.open("good-1", &ask).await.unwrap();
    assert_eq!(minted.grant.expires_at, START + SignedDuration::from_mins(15));
}

#[tokio::test]
async fn refusals_are_recorded_only_for_jobs_with_a_verified_token() {
    let house = House::default();
    assert_eq!(
        house.grants.open("forged", &ask("migrate")).await.unwrap_err().code,
        "bad-signature"
    );
    assert_eq!(house.audit.names(), Vec::<String>::new());
    assert_eq!(
        house.grants.open("good-1", &ask("migrat")).await.unwrap_err().code,
        "scope-unknown"
    );
    house.grants.open("good-1", &ask("migrate")).await.unwrap();
    assert_eq!(
        house.grants.open("good-1", &ask("migrate")).await.unwrap_err().code,
        "token-reused"
    );
    assert_eq!(house.audit.names(), ["grant.refused", "grant.minted", "grant.refused"]);
}

#[tokio::test]
async fn no_record_no_grant() {
    let house = House::default();
    house.audit.broken.store(true, Ordering::SeqCst);
    let problem = house.grants.open("good-1", &ask("migrate")).await.unwrap_err();
    assert_eq!(
        (problem.nature, problem.code),
        (Nature::Unavailable, "ledger-unavailable")
    );
    assert_eq!(house.grants.registry().live_count(), 0);
    assert_eq!(house.store.live().await.unwrap().rows, []);
}

#[tokio::test]
async fn a_refused_mint_leaves_nothing_in_the_registry() {
    let house = House::default();
    for token in ["good-1", "good-2", "good-3"] {
        house.grants.open(token, &ask("migrate")).await.unwrap();
    }
    let problem = house.grants.open("good-4", &ask("migrate")).await.unwrap_err();
    assert_eq!((problem.nature, problem.code), (Nature::TooMany, "busy"));
    assert!(problem.retry_after.is_some());
    assert_eq!(house.grants.registry().live_count(), 3);
}

#[tokio::test]
async fn sessions_enter_up_to_max_connections_and_give_their_place_back() {
    let house = House::default();
    let live = house.grants.open("good-1", &ask("migrate")).await.unwrap().grant;
    let registry = house.grants.registry();
    let one = registry.admit_session(&live, START).unwrap();
    let _two = registry.admit_session(&live, START).unwrap();
    let refusal = registry.admit_session(&live, START).unwrap_err();
    assert_eq!(refusal.sqlstate(), "53300");
    let message = "this grant already has 2 connections, its max-connections (.hoop/db-access.yaml:26)";
    assert_eq!(refusal.message(), message);
    assert_eq!((live.sessions(), registry.session_count()), (2, 2));
    drop(one);
    assert!(registry.admit_session(&live, START).is_ok());
    assert_eq!((live.sessions(), registry.session_count()), (1, 1));

    let refusal = registry
        .admit_session(&live, START + SignedDuration::from_mins(15))
        .unwrap_err();
    assert_eq!(
        refusal.message(),
        "this grant takes no new connections: ttl (.hoop/db-access.yaml:24) has passed"
    );
    let refusal = registry
        .admit_session(&live, START + SignedDuration::from_mins(45))
        .unwrap_err();
    assert_eq!((refusal.sqlstate(), live.sessions()), ("57P01", 1));
    // A refused connection is no session.
    assert_eq!(live.totals.snapshot().sessions, 3);
}

#[tokio::test]
async fn a_hundred_connections_at_once_never_exceed_the_limit() {
    let house = House::default();
    let live = house.grants.open("good-1", &ask("migrate")).await.unwrap().grant;
    let barrier = Arc::new(std::sync::Barrier::new(100));
    let tries: Vec<_> = (0..100)
        .map(|_| {
            let (registry, live) = (Arc::clone(house.grants.registry()), Arc::clone(&live));
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                barrier.wait();
                registry.admit_session(&live, START).ok()
            })
        })
        .collect();
    let slots: Vec<_> = tries.into_iter().filter_map(|one| one.join().unwrap()).collect();
    assert_eq!(slots.len(), 2);
    drop(slots);
    assert_eq!((live.sessions(), house.grants.registry().session_count()), (0, 0));
}

#[tokio::test]
async fn the_broker_takes_only_so_many_sessions() {
    let house = House::default();
    let live = house.grants.open("good-1", &ask("migrate")).await.unwrap().grant;
    let full = Registry::new(Caps {
        sessions: 1,
        ..Caps::default()
    });
    let _one = full.admit_session(&live, START).unwrap();
    assert_eq!(
        full.admit_session(&live, START).unwrap_err(),
        SessionRefusal::BrokerFull
    );
    assert_eq!(live.sessions(), 1);
}

#[tokio::test]
async fn revoking_cuts_sessions_waits_for_their_counts_and_answers_the_same_twice() {
    let house = House::default();
    let minted = house.grants.open("good-1", &ask("migrate")).await.unwrap();
    let live = Arc::clone(&minted.grant);
    let mut slot = house.grants.registry().admit_session(&live, START).unwrap();
    let session = tokio::spawn(async move {
        let ending = slot.ended().await;
        // The statement that was cut is counted as the session closes.
        slot.grant().totals.rows.fetch_add(7, Ordering::Relaxed);
        ending
    });
    let (row, totals) = house.grants.revoke(live.id, &minted.revoke_token).await.unwrap();
    assert_eq!(session.await.unwrap().kind, EndingKind::Revoked);
    assert_eq!(row.ended.as_ref().unwrap().kind, "revoked");
    assert_eq!((totals.sessions, totals.rows), (1, 7));
    assert_eq!(
        house.grants.revoke(live.id, &minted.revoke_token).await.unwrap(),
        (row, totals)
    );
    assert_eq!(house.audit.names(), ["grant.minted", "grant.revoked"]);
    let refusal = house.grants.registry().admit_session(&live, START).unwrap_err();
    assert_eq!(refusal.message(), "this grant has ended: the job revoked it");
}

#[tokio::test]
async fn a_wrong_revoke_token_and_an_unknown_grant_look_the_same() {
    let house = House::default();
    let minted = house.grants.open("good-1", &ask("migrate")).await.unwrap();
    let wrong = house
        .grants
        .revoke(minted.grant.id, &minted.password)
        .await
        .unwrap_err();
    let unknown = house
        .grants
        .revoke(GrantId::fresh(), &minted.revoke_token)
        .await
        .unwrap_err();
    assert_eq!(format!("{wrong:?}"), format!("{unknown:?}"));
    assert_eq!(minted.grant.ending(), None);
}

#[tokio::test]
async fn a_revocation_the_ledger_cannot_record_still_cuts_and_stays() {
    let house = House::default();
    let minted = house.grants.open("good-1", &ask("migrate")).await.unwrap();
    house.audit.broken.store(true, Ordering::SeqCst);
    let problem = house
        .grants
        .revoke(minted.grant.id, &minted.revoke_token)
        .await
        .unwrap_err();
    assert_eq!(problem.code, "ledger-unavailable");
    assert!(minted.grant.ending().is_some());
    assert_eq!(house.store.live().await.unwrap().rows, []);
}

#[tokio::test]
async fn a_repeated_request_cuts_the_grant_it_replaces() {
    let house = House::default();
    let ask = Ask {
        key: Some(Digest::of(b"idempotency")),
        ..ask("migrate")
    };
    let first = house.grants.open("good-1", &ask).await.unwrap();
    let second = house.grants.open("good-2", &ask).await.unwrap();
    assert_eq!(first.grant.ending().unwrap().kind, EndingKind::Revoked);
    assert_eq!(second.grant.ending(), None);
    assert_eq!(house.audit.names(), ["grant.minted", "grant.revoked", "grant.minted"]);
    assert_eq!(
        house.grants.open("good-3@other", &ask).await.unwrap_err().code,
        "idempotency-key-in-use"
    );

    let id = house.grants.revoke_by_key(Digest::of(b"idempotency")).await.unwrap();
    assert_eq!(id, Some(second.grant.id));
    assert!(second.grant.ending().is_some());
    assert_eq!(
        house.grants.open("good-4", &ask).await.unwrap_err().code,
        "idempotency-key-closed"
    );
}

#[tokio::test]
async fn a_one_token_issuer_binds_its_token_to_a_key() {
    let house = House::on(Arc::new(Sqlite::in_memory().unwrap()), FakeAdmission { binds: true });
    let first = Ask {
        proof: Some(Digest::of(b"K")),
        ..ask("migrate")
    };
    let grant = house.grants.open("good-1", &first).await.unwrap().grant;
    assert_eq!(
        house.grants.open("good-1", &first).await.unwrap_err().code,
        "token-reused"
    );
    let thief = Ask {
        proof_key: Some(Digest::of(b"L")),
        ..ask("migrate")
    };
    assert_eq!(
        house.grants.open("good-1", &thief).await.unwrap_err().code,
        "replay-proof-mismatch"
    );
    assert_eq!(grant.ending(), None);
    let again = Ask {
        proof_key: Some(Digest::of(b"K")),
        ..ask("migrate")
    };
    house.grants.open("good-1", &again).await.unwrap();
    assert!(grant.ending().is_some());
}

#[tokio::test]
async fn the_kill_switch_cuts_what_the_filter_means() {
    let house = House::default();
    let migrate = house.grants.open("good-1", &ask("migrate")).await.unwrap().grant;
    let read = house.grants.open("good-2", &ask("read")).await.unwrap().grant;
    let peer = ask("read").peer;
    assert_eq!(house.grants.kill(&Filter::default(), peer).await.unwrap(), []);
    let scope = Filter {
        scope: Some("read".into()),
        ..Filter::default()
    };
    assert_eq!(house.grants.kill(&scope, peer).await.unwrap(), [read.id]);
    assert_eq!(read.ending().unwrap().kind, EndingKind::Killed);
    assert_eq!(migrate.ending(), None);
    assert_eq!(
        house.audit.names(),
        ["grant.minted", "grant.minted", "kill", "kill", "grant.killed"]
    );
}

#[tokio::test]
async fn live_grants_survive_a_restart_and_others_do_not() {
    let store: Arc<dyn Store> = Arc::new(Sqlite::in_memory().unwrap());
    let before = House::on(Arc::clone(&store), FakeAdmission::default());
    let kept = before.grants.open("good-1", &ask("migrate")).await.unwrap();
    let changed = before.grants.open("good-2", &ask("read")).await.unwrap().grant;
    let revoked = before.grants.open("good-3", &ask("migrate")).await.unwrap();
    before
        .grants
        .revoke(revoked.grant.id, &revoked.revoke_token)
        .await
        .unwrap();
    drop(before);

    let after = House::on(Arc::clone(&store), FakeAdmission::default());
    after.clock.advance(SignedDuration::from_mins(10));
    let today = |row: &crate::store::GrantRow| (row.scope == "migrate").then(|| scope("migrate"));
    let continued = after.grants.restore(today).await.unwrap();
    assert_eq!(
        continued,
        restore::Continued {
            live: 1,
            expired: 0,
            changed: 1
        }
    );
    let live = after.grants.registry().get(kept.grant.id).unwrap();
    assert_eq!(live.verifier, kept.grant.verifier);
    let left = live.deadlines.ends.duration_since(Instant::now());
    assert!(
        left > Duration::from_mins(34) && left <= Duration::from_mins(35),
        "{left:?}"
    );
    let (row, _) = store.grant(changed.id).await.unwrap().unwrap();
    assert!(row.ended.unwrap().reason.starts_with("the policy changed"));
    // Its revoke token still works, and its token is still used up.
    assert_eq!(
        after.grants.open("good-1", &ask("migrate")).await.unwrap_err().code,
        "token-reused"
    );
    after.grants.revoke(live.id, &kept.revoke_token).await.unwrap();
}

#[tokio::test]
async fn a_clock_set_back_across_a_restart_extends_nothing() {
    let store: Arc<dyn Store> = Arc::new(Sqlite::in_memory().unwrap());
    let before = House::on(Arc::clone(&store), FakeAdmission::default());
    let grant = before.grants.open("good-1", &ask("migrate")).await.unwrap().grant;
    let later = START + SignedDuration::from_mins(50);
    let purge = crate::store::Purge {
        now: later,
        kept_until_before: START,
        ended_before: START,
    };
    store.purge(purge).await.unwrap();
    drop(before);
    // The new process believes it is START again.
    let after = House::on(Arc::clone(&store), FakeAdmission::default());
    let continued = after.grants.restore(|_| Some(scope("migrate"))).await.unwrap();
    assert_eq!(continued.expired, 1);
    assert!(after.grants.registry().get(grant.id).is_none());
}

#[tokio::test]
async fn an_ending_the_store_did_not_take_cuts_at_once_and_is_written_later() {
    let store = Sqlite::in_memory().unwrap();
    let flaky = Arc::new(Flaky {
        inner: store,
        broken: true.into(),
    });
    let house = House::on(Arc::<Flaky>::clone(&flaky), FakeAdmission::default());
    let minted = house.grants.open("good-1", &ask("migrate")).await.unwrap();
    let problem = house
        .grants
        .revoke(minted.grant.id, &minted.revoke_token)
        .await
        .unwrap_err();
    assert_eq!(
        (problem.nature, problem.code),
        (Nature::Unavailable, "store-unavailable")
    );
    assert!(!problem.detail.contains("disk"), "the cause is the operator's");
    assert!(minted.grant.ending().is_some());
    house.grants.write_endings().await;
    assert_eq!(house.store.live().await.unwrap().rows.len(), 1);
    flaky.broken.store(false, Ordering::SeqCst);
    house.grants.write_endings().await;
    assert_eq!(house.store.live().await.unwrap().rows, []);
}
