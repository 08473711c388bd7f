//! The recorder as a whole: open, write, kill, open again, read back.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::base::fault::Fault as _;
use crate::base::id::{GrantId, SessionId};
use crate::ledger::record::{Minted, OpenIntent, Status};
use crate::ledger::view::{Decided, State};
use crate::ledger::{Entry, Filter, Trouble, chain};

use super::journal::tests::{PATIENCE, intent, outcome};
use super::*;

#[test]
fn two_brokers_never_share_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), Clock::system()).unwrap();
    let fault = Recorder::open(dir.path(), Clock::system()).unwrap_err();
    assert_eq!(fault.code(), "ledger-locked");
    assert!(
        fault.to_string().contains(&format!("process {}", std::process::id())),
        "{fault}"
    );
    recorder.close().unwrap();
    Recorder::open(dir.path(), Clock::system()).unwrap().close().unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.kinds["broker-started"], report.kinds["broker-stopped"]), (2, 2));
    assert_eq!(report.head, report.records);
}

#[test]
fn only_the_broker_reads_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("ledger");
    let recorder = Recorder::open(&root, Clock::system()).unwrap();
    let mut seen = 0;
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                assert_eq!(
                    entry.metadata().unwrap().permissions().mode() & 0o777,
                    0o600,
                    "{entry:?}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 4);
    drop(recorder);
}

fn minted(grant: GrantId, claims: &serde_json::Map<String, serde_json::Value>) -> Record<'_> {
    Record::GrantMinted(Box::new(Minted {
        grant,
        issuer: "github".into(),
        repository: "acme/shop".into(),
        repository_id: "7".into(),
        workflow: Some(".github/workflows/migrate.yml".into()),
        run_id: Some("42".into()),
        run_attempt: None,
        job_id: None,
        sha: None,
        actor: Some("ada".into()),
        environment: None,
        event: None,
        reason: None,
        scope: "migrate".into(),
        database: "shop".into(),
        enforcement: Some("shared".into()),
        policy_sha: "00".into(),
        scope_digest: "00".into(),
        matched: ".hoop/db-access.yaml:5".into(),
        expires_at: 1,
        ends_at: 2,
        jti_hash: "00".into(),
        claims: std::borrow::Cow::Borrowed(claims),
    }))
}

#[tokio::test]
async fn a_session_reads_back_while_the_broker_runs() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        sessions(dir.path(), &Filter::default()).unwrap_err().trouble,
        Trouble::Absent
    );
    let recorder = Recorder::open(dir.path(), Clock::system()).unwrap();
    let mut journal = recorder.journal("one").unwrap();
    let (session, grant) = (SessionId::fresh(), GrantId::fresh());
    let claims = serde_json::Map::new();
    recorder.control().write_durably(&minted(grant, &claims)).await.unwrap();
    journal.append(&Record::SessionOpened {
        session,
        grant,
        address: "127.0.0.1:9".into(),
        backend_pid: 3,
        application: Some("psql".into()),
        tls: None,
    });
    journal.append(&intent(session, 1));
    journal.commit().unwrap();
    journal.append(&outcome(session, 1));
    journal.append(&Record::Denied {
        session,
        n: None,
        code: "table-not-allowed".into(),
        origin: ".hoop/db-access.yaml:9".into(),
        asked: "SELECT app.secrets".into(),
        text: "select * from app.secrets".into(),
        cut: None,
    });
    journal.commit().unwrap();
    let started = Instant::now();
    while session_steps(dir.path(), session) < 2 {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    verify(dir.path()).unwrap();
    let detail = super::session(dir.path(), session).unwrap().unwrap();
    assert_eq!(detail.identity.as_ref().unwrap().repository, "acme/shop");
    assert_eq!(detail.summary.state, State::Open);
    assert_eq!(detail.steps[0].outcome.as_ref().unwrap().status, Status::Ok);
    assert!(matches!(&detail.steps[1].decision, Decided::Denied { code, .. } if code == "table-not-allowed"));
    let only = Filter {
        repository: Some("acme/shop".into()),
        ..Filter::default()
    };
    assert_eq!(sessions(dir.path(), &only).unwrap(), [detail.summary]);
    assert!(super::session(dir.path(), SessionId::fresh()).unwrap().is_none());
    drop(journal);
    recorder.close().unwrap();
}

fn session_steps(dir: &Path, id: SessionId) -> usize {
    super::session(dir, id).unwrap().map_or(0, |detail| detail.steps.len())
}

#[test]
fn a_closed_recorder_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), Clock::system()).unwrap();
    let mut journal = recorder.journal("one").unwrap();
    journal.append(&intent(SessionId::fresh(), 1));
    let mark = journal.commit().unwrap();
    recorder.close().unwrap();
    journal.append(&intent(SessionId::fresh(), 2));
    assert_eq!(journal.commit(), Err(RecordFault::Closed));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(journal.synced(mark)), Ok(()));
    assert_eq!(runtime.block_on(journal.synced(Mark::far())), Err(RecordFault::Closed));
}

#[test]
fn when_the_chain_is_far_behind_no_more_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = Sizes {
        backlog: 500,
        ..Sizes::default()
    };
    let recorder = Recorder::open_sized(dir.path(), Clock::system(), sizes).unwrap();
    let mut journal = recorder.journal("one").unwrap();
    let session = SessionId::fresh();
    let mut i = 0;
    let fault = loop {
        i += 1;
        journal.append(&intent(session, i));
        if let Err(fault) = journal.commit() {
            break fault;
        }
    };
    assert!(matches!(fault, RecordFault::Behind { bytes } if bytes > 500), "{fault}");
    let started = Instant::now();
    while journal.commit().is_err() || {
        journal.append(&intent(session, i));
        journal.commit().is_err()
    } {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}

const CHILD: &str = "HOOP_TEST_KILLED_LEDGER";

/// A process writes executions from two runtimes and says each that is durable; it is killed at any moment. What it said
/// is in the ledger, once, and everything it left open is `unknown`. The same ledger is used again and again.
#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "record::tests::killed_child"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The moment is counted from the first acknowledged write, so that a slow machine changes nothing.
        let first = lines
            .find(|line| line.as_ref().is_ok_and(|line| line.starts_with("ack ")))
            .unwrap()
            .unwrap();
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(round * 37 % 330));
        child.kill().unwrap();
        child.wait().unwrap();
        let told = reader.join().unwrap();
        acknowledged.push(first);
        acknowledged.extend(
            told.into_iter()
                .filter(|line| line.starts_with("ack ") && line.ends_with(" .")),
        );
    }
    Recorder::open(dir.path(), Clock::system()).unwrap().close().unwrap();
    verify(dir.path()).unwrap();

    let (mut intents, mut outcomes) = (HashMap::new(), HashMap::new());
    let place = Place::new(dir.path());
    for segment in place.segments().unwrap() {
        for line in fs::read_to_string(place.segment(segment)).unwrap().lines() {
            match Entry::parse(chain::split(line.as_bytes()).unwrap().1).unwrap().record {
                Record::Intent { session, i, .. } => *intents.entry(OpenIntent { session, i }).or_insert(0) += 1,
                Record::Outcome { session, i, .. } => *outcomes.entry(OpenIntent { session, i }).or_insert(0) += 1,
                _ => {}
            }
        }
    }
    assert!(acknowledged.len() > 12);
    for line in &acknowledged {
        let mut words = line.split(' ').skip(1);
        let session = words.next().unwrap().parse().unwrap();
        let i = words.next().unwrap().parse().unwrap();
        assert_eq!(intents.get(&OpenIntent { session, i }), Some(&1), "{line}");
    }
    assert!(intents.values().chain(outcomes.values()).all(|count| *count == 1));
    assert_eq!(intents.len(), outcomes.len());
    assert!(intents.keys().all(|execution| outcomes.contains_key(execution)));
    assert_eq!(place.journal_names().unwrap().len(), 0);
}

#[test]
#[ignore = "run by killed_at_any_moment_nothing_acknowledged_is_lost, in a process of its own"]
fn killed_child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let sizes = Sizes {
        journal: 20_000,
        segment: 50_000,
        ..Sizes::default()
    };
    let recorder = Recorder::open_sized(dir.as_ref(), Clock::system(), sizes).unwrap();
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            let mut journal = recorder.journal(name).unwrap();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let session = SessionId::fresh();
                for i in 1..100_000 {
                    journal.append(&intent(session, i));
                    let mark = journal.commit().unwrap();
                    runtime.block_on(journal.synced(mark)).unwrap();
                    writeln!(std::io::stdout(), "ack {session} {i} .").unwrap();
                    if i % 5 != 0 {
                        journal.append(&outcome(session, i));
                        journal.commit().unwrap();
                    }
                }
            });
        }
    });
}

/// The verifier of the documentation, written in another language, agrees with ours.
#[test]
fn the_independent_verifier_agrees() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_ledger.py");
    let check = |dir: &Path| Command::new("python3").arg(&script).arg(dir).output();
    let dir = tempfile::tempdir().unwrap();
    let sizes = Sizes {
        segment: 3_000,
        ..Sizes::default()
    };
    let recorder = Recorder::open_sized(dir.path(), Clock::system(), sizes).unwrap();
    let mut journal = recorder.journal("one").unwrap();
    for i in 1..=40 {
        journal.append(&intent(SessionId::fresh(), i));
    }
    drop(journal);
    recorder.close().unwrap();
    // Without the interpreter there is nothing to compare with.
    let Ok(first) = check(dir.path()) else { return };
    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    let report = verify(dir.path()).unwrap();
    assert!(first.status.success(), "{said}");
    assert!(
        said.contains(&report.records.to_string()) && said.contains(&report.hash.to_string()),
        "{said}"
    );

    let path = Place::new(dir.path()).segment(1);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let found = verify(dir.path()).unwrap_err();
    let second = check(dir.path()).unwrap();
    let said = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(!second.status.success());
    assert!(
        said.contains(&format!("line {}", found.line.unwrap())),
        "{said} {found}"
    );
}
