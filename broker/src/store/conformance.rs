//! What every store must do, as one suite: each check takes an empty store.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    DenialRow, Digest, EndOutcome, Ended, Filter, GrantRow, KEPT_DENIALS, MintRefusal, Outcome, PolicyLine, Purge,
    Replay, Store, TokenUse, TotalsRow,
};
use crate::base::id::GrantId;
use crate::claims::{Claims, ProviderKind};
use crate::sql::bound::Sight;

/// When the suite takes place.
pub const START: Timestamp = Timestamp::constant(1_795_305_600, 0);
const CAP: u32 = 3;

/// A grant of job `job` for `scope`.
pub fn row(scope: &str, job: &str) -> GrantRow {
    GrantRow {
        id: GrantId::fresh(),
        claims: claims(job),
        scope: scope.into(),
        database: "orders-prod".into(),
        scope_digest: "digest-1".into(),
        policy: PolicyLine {
            path: ".hoop/db-access.yaml".into(),
            line: 8,
            sha: "policy-1".into(),
        },
        reason: Some("nightly".into()),
        verifier: "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA".into(),
        revoke: Digest::of(b"revoke"),
        key: None,
        created_at: START,
        expires_at: START + SignedDuration::from_mins(15),
        ends_at: START + SignedDuration::from_mins(45),
        ended: None,
    }
}

fn claims(job: &str) -> Claims {
    Claims {
        provider: ProviderKind::GithubActions,
        issuer: "github".into(),
        repository_id: "260064828".into(),
        repository: "acme/orders".into(),
        owner_id: "1342004".into(),
        git_ref: Some("refs/heads/main".into()),
        ref_protected: None,
        environment: None,
        event: Some("push".into()),
        workflow: None,
        reusable_workflow: None,
        config: None,
        sha: None,
        actor: None,
        run_id: Some("7001".into()),
        run_attempt: Some("1".into()),
        job_id: Some(job.into()),
        jti: format!("jti-{job}"),
        issued_at: START,
        expires_at: START + SignedDuration::from_mins(5),
        raw: serde_json::Map::new(),
    }
}

/// A token that is used once.
pub fn once(jti: &str) -> TokenUse {
    TokenUse {
        issuer: "github".into(),
        jti: Digest::of(jti.as_bytes()),
        keep_until: START + SignedDuration::from_mins(10),
        replay: Replay::Once,
    }
}

fn bound(jti: &str, proof: Option<&str>, key: Option<&str>) -> TokenUse {
    let digest = |key: &str| Digest::of(key.as_bytes());
    TokenUse {
        replay: Replay::Bind {
            proof: proof.map(digest),
            key: key.map(digest),
        },
        ..once(jti)
    }
}

/// An ending.
pub fn ended(kind: &str) -> Ended {
    Ended {
        kind: kind.into(),
        reason: "because".into(),
        at: START + SignedDuration::from_mins(1),
    }
}

fn minted() -> Outcome {
    Outcome::Minted { replaced: Vec::new() }
}

/// A stored grant reads back as written.
pub async fn a_grant_reads_back_as_written(store: Arc<dyn Store>) {
    let row = GrantRow {
        key: Some(Digest::of(b"key")),
        ..row("migrate", "1")
    };
    assert_eq!(store.mint(row.clone(), once("a"), CAP).await.unwrap(), minted());
    assert_eq!(
        store.grant(row.id).await.unwrap().unwrap(),
        (row.clone(), TotalsRow::default())
    );
    assert_eq!(store.live().await.unwrap().rows, [row]);
    assert!(store.grant(GrantId::fresh()).await.unwrap().is_none());
    store.ping().await.unwrap();
}

/// Of 200 parallel uses of one `jti` exactly one becomes a grant.
pub async fn one_jti_becomes_one_grant(store: Arc<dyn Store>) {
    let mut uses = tokio::task::JoinSet::new();
    for job in 0..200 {
        let store = Arc::clone(&store);
        uses.spawn(async move {
            store
                .mint(row("migrate", &job.to_string()), once("same"), 1000)
                .await
                .unwrap()
        });
    }
    let outcomes = uses.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == minted()).count(), 1);
    let reused = Outcome::Refused(MintRefusal::TokenReused);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == reused).count(), 199);
    assert_eq!(store.live().await.unwrap().rows.len(), 1);
    // Another issuer's token of the same name is another token.
    let other = TokenUse {
        issuer: "ghes".into(),
        ..once("same")
    };
    assert_eq!(store.mint(row("migrate", "x"), other, CAP).await.unwrap(), minted());
}

/// A refusal stores nothing and uses up no token.
pub async fn a_refusal_burns_no_token(store: Arc<dyn Store>) {
    let mut ids = Vec::new();
    for job in ["1", "2", "3"] {
        let row = row("migrate", job);
        ids.push(row.id);
        assert_eq!(store.mint(row, once(job), CAP).await.unwrap(), minted());
    }
    let busy = Outcome::Refused(MintRefusal::Busy { live: 3, cap: 3 });
    assert_eq!(store.mint(row("migrate", "4"), once("4"), CAP).await.unwrap(), busy);
    // Another scope has its own count.
    assert_eq!(store.mint(row("read", "5"), once("5"), CAP).await.unwrap(), minted());
    store.end(ids[0], ended("revoked")).await.unwrap();
    assert_eq!(store.mint(row("migrate", "4"), once("4"), CAP).await.unwrap(), minted());
}

/// The same job with the same key gets a new grant in place of the first.
pub async fn a_repeated_request_replaces_its_first_grant(store: Arc<dyn Store>) {
    let key = Some(Digest::of(b"key"));
    let first = GrantRow {
        key,
        ..row("migrate", "1")
    };
    let second = GrantRow {
        key,
        ..row("migrate", "1")
    };
    assert_eq!(store.mint(first.clone(), once("a"), 1).await.unwrap(), minted());
    // Even at the cap: the first one leaves.
    let replaced = Outcome::Minted {
        replaced: vec![first.id],
    };
    assert_eq!(store.mint(second.clone(), once("b"), 1).await.unwrap(), replaced);
    let (old, _) = store.grant(first.id).await.unwrap().unwrap();
    assert_eq!(old.ended.unwrap().kind, "revoked");
    assert_eq!(store.live().await.unwrap().rows, [second]);
    // Another job, or another scope, does not take it over.
    let in_use = Outcome::Refused(MintRefusal::KeyInUse);
    let stranger = GrantRow {
        key,
        ..row("migrate", "2")
    };
    assert_eq!(store.mint(stranger, once("c"), CAP).await.unwrap(), in_use);
    let elsewhere = GrantRow {
        key,
        ..row("read", "1")
    };
    assert_eq!(store.mint(elsewhere, once("c"), CAP).await.unwrap(), in_use);
}

/// A closed key ends its grant and refuses a request that comes late.
pub async fn a_closed_key_stays_closed(store: Arc<dyn Store>) {
    let (one, late) = (Digest::of(b"one"), Digest::of(b"late"));
    let until = START + SignedDuration::from_mins(10);
    let grant = GrantRow {
        key: Some(one),
        ..row("migrate", "1")
    };
    store.mint(grant.clone(), once("a"), CAP).await.unwrap();
    assert_eq!(
        store.close_key(one, ended("revoked"), until).await.unwrap(),
        Some(grant.id)
    );
    assert_eq!(store.close_key(one, ended("revoked"), until).await.unwrap(), None);
    assert_eq!(store.close_key(late, ended("revoked"), until).await.unwrap(), None);
    let coming = GrantRow {
        key: Some(late),
        ..row("migrate", "1")
    };
    let closed = Outcome::Refused(MintRefusal::KeyClosed);
    assert_eq!(store.mint(coming, once("b"), CAP).await.unwrap(), closed);
    assert_eq!(store.live().await.unwrap().rows, []);
}

/// A bound token comes again only with its key, and only for its scope.
pub async fn a_bound_token_needs_its_key(store: Arc<dyn Store>) {
    let first = row("migrate", "1");
    assert_eq!(
        store
            .mint(first.clone(), bound("t", Some("K"), None), CAP)
            .await
            .unwrap(),
        minted()
    );
    let refused = |refusal| Outcome::Refused(refusal);
    let again = |scope: &str, key| store.mint(row(scope, "1"), bound("t", Some("K"), key), CAP);
    assert_eq!(again("migrate", None).await.unwrap(), refused(MintRefusal::TokenReused));
    assert_eq!(
        again("migrate", Some("L")).await.unwrap(),
        refused(MintRefusal::ProofMismatch)
    );
    assert_eq!(
        again("read", Some("K")).await.unwrap(),
        refused(MintRefusal::ProofMismatch)
    );
    assert_eq!(
        again("migrate", Some("K")).await.unwrap(),
        Outcome::Minted {
            replaced: vec![first.id]
        }
    );
    // A second replacement replaces the second grant, not the first.
    let Outcome::Minted { replaced } = again("migrate", Some("K")).await.unwrap() else {
        panic!("the key is right")
    };
    assert_eq!(replaced.len(), 1);
    assert_ne!(replaced[0], first.id);
    // Without a proof in the first exchange there is no second, whatever key is named.
    assert_eq!(
        store
            .mint(row("migrate", "2"), bound("u", None, None), CAP)
            .await
            .unwrap(),
        minted()
    );
    let late = store
        .mint(row("migrate", "2"), bound("u", None, Some("K")), CAP)
        .await
        .unwrap();
    assert_eq!(late, refused(MintRefusal::TokenReused));
    // A token that was used once cannot become a bound one.
    assert_eq!(store.mint(row("read", "3"), once("v"), CAP).await.unwrap(), minted());
    let turned = store
        .mint(row("read", "3"), bound("v", Some("K"), Some("K")), CAP)
        .await
        .unwrap();
    assert_eq!(turned, refused(MintRefusal::TokenReused));
}

/// The first ending stands.
pub async fn a_grant_ends_once(store: Arc<dyn Store>) {
    let grant = row("migrate", "1");
    store.mint(grant.clone(), once("a"), CAP).await.unwrap();
    assert_eq!(store.end(grant.id, ended("revoked")).await.unwrap(), EndOutcome::First);
    assert_eq!(store.end(grant.id, ended("killed")).await.unwrap(), EndOutcome::Already);
    assert_eq!(
        store.end(GrantId::fresh(), ended("killed")).await.unwrap(),
        EndOutcome::Unknown
    );
    let (row, _) = store.grant(grant.id).await.unwrap().unwrap();
    assert_eq!(row.ended, Some(ended("revoked")));
}

/// An operator's filter means live grants by id, scope, repository (name or id) and database; an empty one means none.
pub async fn a_filter_means_what_it_says(store: Arc<dyn Store>) {
    let (a, b) = (
        row("migrate", "1"),
        GrantRow {
            database: "orders-replica".into(),
            ..row("read", "2")
        },
    );
    store.mint(a.clone(), once("a"), CAP).await.unwrap();
    store.mint(b.clone(), once("b"), CAP).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let empty = Filter::default;
    for (filter, count) in [
        (empty(), 0),
        (
            Filter {
                grant: Some(a.id),
                ..empty()
            },
            1,
        ),
        (
            Filter {
                scope: some("read"),
                ..empty()
            },
            1,
        ),
        (
            Filter {
                repository: some("acme/orders"),
                ..empty()
            },
            2,
        ),
        (
            Filter {
                repository: some("github:260064828"),
                ..empty()
            },
            2,
        ),
        (
            Filter {
                repository: some("gitlab:260064828"),
                ..empty()
            },
            0,
        ),
        (
            Filter {
                database: some("orders-replica"),
                scope: some("read"),
                ..empty()
            },
            1,
        ),
        (
            Filter {
                database: some("orders-replica"),
                scope: some("migrate"),
                ..empty()
            },
            0,
        ),
    ] {
        assert_eq!(store.matching(filter.clone()).await.unwrap().len(), count, "{filter:?}");
    }
    store.end(a.id, ended("killed")).await.unwrap();
    assert!(
        store
            .matching(Filter {
                grant: Some(a.id),
                ..empty()
            })
            .await
            .unwrap()
            .is_empty()
    );
}

/// Totals add up and the kept denials stay few.
pub async fn totals_add_up(store: Arc<dyn Store>) {
    let grant = row("migrate", "1");
    store.mint(grant.clone(), once("a"), CAP).await.unwrap();
    let denial = DenialRow {
        code: "class-not-allowed".into(),
        message: "denied".into(),
        detail: String::new(),
        hint: String::new(),
        path: "p".into(),
        line: 1,
        column: 1,
    };
    let more = TotalsRow {
        sessions: 1,
        statements: [("select".to_owned(), 2)].into(),
        rows: 10,
        masked: [("app.people.email".to_owned(), 5)].into(),
        detected: [("card".to_owned(), 2)].into(),
        denied: 15,
        denials: vec![denial; 15],
    };
    store
        .add_totals(vec![(grant.id, more.clone()), (GrantId::fresh(), more.clone())])
        .await
        .unwrap();
    store.end(grant.id, ended("revoked")).await.unwrap();
    store.add_totals(vec![(grant.id, more)]).await.unwrap();
    let (_, totals) = store.grant(grant.id).await.unwrap().unwrap();
    assert_eq!(
        (totals.sessions, totals.statements["select"], totals.rows, totals.denied),
        (2, 4, 20, 30)
    );
    assert_eq!(totals.denials.len(), KEPT_DENIALS);
}

/// Only what is past keeping goes, and the latest time seen never goes back.
pub async fn purge_forgets_only_what_is_over(store: Arc<dyn Store>) {
    let (old, live) = (row("migrate", "1"), row("migrate", "2"));
    store.mint(old.clone(), once("a"), CAP).await.unwrap();
    store.mint(live.clone(), once("b"), CAP).await.unwrap();
    store.end(old.id, ended("expired")).await.unwrap();
    let purge = |now, kept, ended| Purge {
        now,
        kept_until_before: kept,
        ended_before: ended,
    };
    assert_eq!(
        store
            .purge(purge(START + SignedDuration::from_hours(1), START, START))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        store.mint(row("migrate", "1"), once("a"), CAP).await.unwrap(),
        Outcome::Refused(MintRefusal::TokenReused)
    );
    let later = START + SignedDuration::from_hours(2);
    assert_eq!(
        store.purge(purge(START, later, later)).await.unwrap(),
        3,
        "two tokens and one ended grant"
    );
    assert!(store.grant(old.id).await.unwrap().is_none());
    let restored = store.live().await.unwrap();
    assert_eq!(restored.rows, [live]);
    assert_eq!(restored.seen_at, Some(START + SignedDuration::from_hours(1)));
}

/// What was seen stays seen, once, and in its place.
pub async fn what_was_seen_stays_seen(store: Arc<dyn Store>) {
    let sight = |number: i16, column: &str| Sight {
        scope: String::new(),
        oid: 4_000_000_000,
        number,
        schema: "app".to_owned(),
        table: "people".to_owned(),
        column: column.to_owned(),
    };
    let (mail, phone) = (sight(2, "mail"), sight(3, "phone"));
    let place = || "shop/7/5".to_owned();
    assert!(store.see(place(), Vec::new()).await.unwrap().is_empty());
    assert_eq!(store.see(place(), vec![mail.clone()]).await.unwrap().len(), 1);
    let all = store.see(place(), vec![mail.clone(), phone.clone()]).await.unwrap();
    assert_eq!(all, BTreeSet::from([mail, phone]));
    assert!(store.see("shop/7/6".to_owned(), Vec::new()).await.unwrap().is_empty());
}

/// Runs every check as a test of one implementation; `$store` makes an empty store, with what must outlive it.
macro_rules! conformance {
    ($store:expr) => {
        conformance! { $store =>
            a_grant_reads_back_as_written one_jti_becomes_one_grant a_refusal_burns_no_token
            a_repeated_request_replaces_its_first_grant a_closed_key_stays_closed a_bound_token_needs_its_key
            a_grant_ends_once a_filter_means_what_it_says what_was_seen_stays_seen totals_add_up purge_forgets_only_what_is_over
        }
    };
    ($store:expr => $($check:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let (store, _kept) = $store;
            $crate::store::conformance::$check(std::sync::Arc::new(store)).await;
        })*
    };
}
pub(crate) use conformance;
