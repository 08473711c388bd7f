//! The reader's processes: what a parser does to itself costs the statement it was reading, and nobody else anything.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hoop::reader::{Counts, Limits, Reader};
use hoop::sql::{Snapshot, Unreadable};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::command::taken;
use tests::house::hoop_db;

fn reader(limits: Limits) -> Reader {
    Reader::new(hoop_db(), limits)
}

fn snapshot() -> Arc<Snapshot> {
    Arc::new(Snapshot {
        server_version: 150_018,
        search_path: vec!["pg_catalog".to_owned(), "public".to_owned()],
        ..Snapshot::default()
    })
}

/// The worker processes that this test has started, oldest first.
fn workers() -> Vec<Pid> {
    let me = std::process::id().to_string();
    let mut found: Vec<i32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
            parent == Some(me.as_str()) && line.windows(13).any(|word| word == b"reader-worker")
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(Pid::from_raw).collect()
}

fn stop(pid: Pid, signal: Signal) {
    kill(pid, signal).unwrap();
}

const ONE: &str = "SELECT 1";

/// Waits until the process is dead, reaped or not.
fn gone(pid: Pid) {
    let state = || -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(stat.rsplit_once(')')?.1.split_whitespace().next()?.to_owned())
    };
    while state().is_some_and(|state| state != "Z") {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn counts(crashed: u64, slow: u64, busy: u64) -> Counts {
    Counts { crashed, slow, busy }
}

/// Something that takes a worker a while.
fn long() -> String {
    format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 400_000].join(","))
}

#[test]
fn a_worker_has_nothing_of_the_broker_and_reads_many_texts() {
    let reader = reader(Limits::default());
    assert_eq!(workers(), [], "none before it is needed");
    let first = snapshot();
    for text in [ONE, "SELECT 2; SELECT 3", "SELEC", ""] {
        assert_eq!(reader.read(text, &first), hoop::sql::read(text, &first), "{text}");
    }
    let [pid] = workers()[..] else {
        panic!("{:?}", workers())
    };
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(environment, b"", "no variable, so no secret in one");
    let open: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().collect();
    assert_eq!(open.len(), 3, "{open:?}");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for (name, most) in [("Max core file size", 0), ("Max file size", 0), ("Max open files", 3)] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let most = most.to_string();
        assert_eq!(
            line[name.len()..].split_whitespace().next(),
            Some(most.as_str()),
            "{line}"
        );
    }
    // Another schema is another answer.
    let mut second = Snapshot::clone(&first);
    second.search_path.clear();
    second.server_version = 140_000;
    let second = Arc::new(second);
    assert_eq!(reader.read(ONE, &second), hoop::sql::read(ONE, &second));
    assert_ne!(reader.read(ONE, &second), reader.read(ONE, &first));
    assert_eq!(workers(), [pid]);
    drop(reader);
    assert_eq!(workers(), [], "none outlives its reader");
}

#[test]
fn an_idle_worker_that_died_costs_nothing() {
    let reader = reader(Limits::default());
    reader.read(ONE, &snapshot()).unwrap();
    let [pid] = workers()[..] else { panic!() };
    stop(pid, Signal::SIGABRT);
    gone(pid);
    reader.read(ONE, &snapshot()).unwrap();
    assert_eq!(reader.counts(), counts(0, 0, 0));
}

#[test]
fn a_worker_that_aborts_costs_its_own_statement() {
    let reader = reader(Limits::default());
    let (text, snapshot) = (long(), snapshot());
    reader.read(ONE, &snapshot).unwrap();
    let [pid] = workers()[..] else { panic!() };
    let before = taken(pid);
    std::thread::scope(|scope| {
        let dying = scope.spawn(|| reader.read(&text, &snapshot));
        // Stopped it cannot answer before it is made to abort; stopped before it has the text it would be the other one's.
        while taken(pid) == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop(pid, Signal::SIGSTOP);
        let other = scope.spawn(|| reader.read(ONE, &snapshot));
        assert!(other.join().unwrap().is_ok(), "the other one is served meanwhile");
        stop(pid, Signal::SIGABRT);
        stop(pid, Signal::SIGCONT);
        assert_eq!(dying.join().unwrap(), Err(Unreadable::Crashed));
    });
    assert!(reader.read(ONE, &snapshot).is_ok());
    assert_eq!(reader.counts(), counts(1, 0, 0));
}

#[test]
fn a_worker_that_hangs_is_replaced_at_the_deadline() {
    let reader = reader(Limits {
        deadline: Duration::from_secs(2),
        ..Limits::default()
    });
    let snapshot = snapshot();
    reader.read(ONE, &snapshot).unwrap();
    let [pid] = workers()[..] else { panic!() };
    stop(pid, Signal::SIGSTOP);
    assert_eq!(reader.read(ONE, &snapshot), Err(Unreadable::TooSlow));
    // A text that does not fit into the socket hangs while it is written.
    reader.read(ONE, &snapshot).unwrap();
    let [pid] = workers()[..] else { panic!() };
    stop(pid, Signal::SIGSTOP);
    assert_eq!(reader.read(&long(), &snapshot), Err(Unreadable::TooSlow));
    assert!(reader.read(ONE, &snapshot).is_ok());
    assert_eq!(reader.counts(), counts(0, 2, 0));
}

#[test]
fn a_text_that_spins_runs_out_of_processor_time() {
    let reader = reader(Limits {
        cpu: 0,
        ..Limits::default()
    });
    let snapshot = snapshot();
    // Two million tokens and four megabytes: with a second at most no worker is through with them.
    let text = format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 900_000].join(","));
    let fault = (0..5).map(|_| reader.read(&text, &snapshot)).find(Result::is_err);
    assert_eq!(fault, Some(Err(Unreadable::TooSlow)));
    assert!(reader.read(ONE, &snapshot).is_ok());
}

#[test]
fn a_text_that_eats_memory_meets_the_limit() {
    let reader = reader(Limits {
        memory: 350,
        ..Limits::default()
    });
    let snapshot = snapshot();
    let text = format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 900_000].join(","));
    let read = reader.read(&text, &snapshot);
    assert!(
        matches!(read, Err(Unreadable::Crashed | Unreadable::TooLarge)),
        "{read:?}"
    );
    assert!(reader.read(ONE, &snapshot).is_ok());
}

#[test]
fn more_texts_than_may_wait_are_turned_away() {
    let reader = reader(Limits {
        workers: 1,
        waiting: 1,
        ..Limits::default()
    });
    let snapshot = snapshot();
    reader.read(ONE, &snapshot).unwrap();
    let [pid] = workers()[..] else { panic!() };
    stop(pid, Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let readings: Vec<_> = (0..3).map(|_| scope.spawn(|| reader.read(ONE, &snapshot))).collect();
        while reader.counts().busy == 0 {
            std::thread::yield_now();
        }
        stop(pid, Signal::SIGCONT);
        let read: Vec<_> = readings.into_iter().map(|reading| reading.join().unwrap()).collect();
        let turned = read.iter().filter(|read| **read == Err(Unreadable::Busy)).count();
        assert_eq!(
            (turned, read.iter().filter(|read| read.is_ok()).count()),
            (1, 2),
            "{read:?}"
        );
    });
    assert_eq!(reader.counts(), counts(0, 0, 1));
}

#[test]
fn a_program_that_is_no_reader_reads_nothing() {
    for program in ["/bin/false", "/bin/cat", "/nowhere"] {
        let reader = Reader::new(program.into(), Limits::default());
        assert_eq!(reader.read(ONE, &snapshot()), Err(Unreadable::Crashed), "{program}");
        assert_eq!(reader.counts(), counts(1, 0, 0), "{program}");
    }
}
