//! PostgreSQL's own regression SQL, statement by statement: run on a throw-away server, and before that read against
//! the schema as it is at that moment. What the walk does not understand is counted by its reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hoop::catalog::{Part, query, read_system, read_user};
use hoop::demo::cluster::Cluster;
use hoop::sql::{Barrier, Snapshot, Unreadable};
use serde_json::json;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::{Aim, Report, Score};
use crate::house::root;

/// The folder in PostgreSQL's source that holds the scripts, and its package at Debian.
const FOLDER: &str = "src/test/regress";
const PACKAGE: &str = "postgresql-15";
/// At least so many percent of what the server accepts must be decided: read, and judged by what it does.
const GOAL: f64 = 98.0;

/// So many scripts of one group run side by side; PostgreSQL means them to.
const WORKERS: usize = 2;
/// Statements shown per reason.
const SHOWN: usize = 5;

/// How often something was so, and the first few statements of which it was.
#[derive(Debug, Default)]
struct Counted {
    times: u64,
    shown: Vec<String>,
}

impl Counted {
    fn add(&mut self, text: &str) {
        self.times += 1;
        if self.shown.len() < SHOWN {
            let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            self.shown.push(line.chars().take(200).collect());
        }
    }
}

/// What became of the statements.
#[derive(Debug, Default)]
struct Tally {
    /// Scripts that are through.
    scripts: usize,
    /// All statements.
    all: u64,
    /// Those that the server ran without an error.
    accepted: u64,
    /// Of the accepted, those of which nothing is opaque.
    understood: u64,
    /// Of the accepted, those denied by purpose: each with its reason.
    opaque: BTreeMap<String, Counted>,
    /// Of the accepted, those that could not be read at all.
    unread: BTreeMap<String, Counted>,
    /// Statements, accepted or not, in which the two readers disagree.
    alarms: Vec<String>,
    /// Statements, accepted or not, on which the reader itself failed.
    crashes: Vec<String>,
}

impl Tally {
    fn unread(&self) -> u64 {
        self.unread.values().map(|counted| counted.times).sum()
    }

    /// Percent of the accepted statements.
    fn percent(&self, part: u64) -> f64 {
        (part as f64 * 10_000.0 / self.accepted.max(1) as f64).round() / 100.0
    }

    fn decided(&self) -> f64 {
        self.percent(self.accepted - self.unread())
    }

    /// The whole table, the most frequent reason first.
    fn table(&self) -> serde_json::Value {
        let by_times = |reasons: &BTreeMap<String, Counted>| {
            let mut sorted: Vec<_> = reasons.iter().collect();
            sorted.sort_by_key(|(_, counted)| std::cmp::Reverse(counted.times));
            let entry = |(reason, counted): (&String, &Counted)| json!({ "reason": reason, "statements": counted.times, "such as": counted.shown });
            sorted.into_iter().map(entry).collect::<Vec<_>>()
        };
        json!({
            "scripts": self.scripts, "statements": self.all, "accepted by the server": self.accepted,
            "decided, percent of accepted": self.decided(),
            "understood, percent of accepted": self.percent(self.understood),
            "opaque": by_times(&self.opaque), "not read": by_times(&self.unread),
            "the reader failed": self.crashes, "false alarms of the second reader": self.alarms,
        })
    }
}

/// Runs the proof on the scripts of Debian's source package, fetched into `target/`. The table is written after every
/// script, and kept under `tests/prove/results` when all of them ran.
pub async fn regress(share: f64) -> Result<Report> {
    let folder = source()?;
    // The schema is read a thousand times; compiling that query anew each time is no part of the proof.
    let settings = [("statement_timeout", "5s"), ("fsync", "off"), ("jit", "off")];
    let cluster = Cluster::start(None, &settings)?;
    cluster.psql("postgres", "CREATE DATABASE regression TEMPLATE template0")?;
    let schedule = std::fs::read_to_string(folder.join("parallel_schedule"))?;
    let groups: Vec<Vec<&str>> = schedule
        .lines()
        .filter_map(|line| line.strip_prefix("test: "))
        .map(|line| line.split_whitespace().filter(|name| *name != "tablespace").collect())
        .collect();
    let some = (groups.iter().map(Vec::len).sum::<usize>() as f64 * share).ceil() as usize;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (cluster, folder) = (Arc::new(cluster), Arc::new(folder));
    let mut left = some;
    for group in groups {
        let names: Vec<String> = group.into_iter().take(left).map(str::to_owned).collect();
        left -= names.len();
        let waiting = Arc::new(Mutex::new(names));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| tokio::spawn(work(cluster.clone(), folder.clone(), waiting.clone(), tally.clone())))
            .collect();
        for worker in workers {
            worker.await??;
        }
    }
    let tally = tally.lock().expect("no worker panicked");
    if share >= 1.0 {
        keep_table(&root().join("tests/prove/results/regress.json"), &tally)?;
    }
    let mut score = Score::new(
        "R6b",
        format!(
            "PostgreSQL 15's regression SQL: {} statements, {} accepted by the server; {:.2} % of those decided, \
             {:.1} % understood; {} false alarms of the second reader",
            tally.all,
            tally.accepted,
            tally.decided(),
            tally.percent(tally.understood),
            tally.alarms.len()
        ),
        Aim::of(20_000),
        Aim::of(30_000),
    );
    score.n = tally.accepted;
    if tally.decided() < GOAL {
        score.wrong(format!(
            "{} statements that the server accepts cannot be read",
            tally.unread()
        ));
    }
    for crash in &tally.crashes {
        score.wrong(format!("the reader failed on {crash}"));
    }
    Ok(Report { scores: vec![score] })
}

/// Every statement of every script, in the order of the scripts' names.
pub fn everything() -> Result<Vec<String>> {
    let folder = source()?;
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder.join("sql"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        found.extend(statements(&std::fs::read_to_string(path)?, &folder));
    }
    Ok(found)
}

/// Takes scripts of the group until none waits.
async fn work(
    cluster: Arc<Cluster>,
    folder: Arc<PathBuf>,
    waiting: Arc<Mutex<Vec<String>>>,
    tally: Arc<Mutex<Tally>>,
) -> Result<()> {
    loop {
        let Some(name) = waiting.lock().expect("no worker panicked").pop() else {
            return Ok(());
        };
        let script = std::fs::read_to_string(folder.join(format!("sql/{name}.sql")))?;
        let mut run = Run::open(&cluster).await?;
        for statement in statements(&script, &folder) {
            if run.client.is_closed() {
                run = Run::open(&cluster).await?;
            }
            run.one(&statement, &tally)
                .await
                .with_context(|| format!("{name}: {statement}"))?;
        }
        let mut tally = tally.lock().expect("no worker panicked");
        tally.scripts += 1;
        keep_table(&root().join("target/regress/table.json"), &tally)?;
        println!(
            "  {name}: {} statements so far, {:.1} % of {} understood",
            tally.all,
            tally.percent(tally.understood),
            tally.accepted
        );
    }
}

fn keep_table(path: &Path, tally: &Tally) -> Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(&tally.table())? + "\n")?;
    Ok(())
}

/// The scripts, fetched once.
fn source() -> Result<PathBuf> {
    let home = root().join("target/regress");
    let find = || -> Option<PathBuf> {
        let entries = std::fs::read_dir(&home).ok()?;
        entries
            .filter_map(|entry| Some(entry.ok()?.path().join(FOLDER)))
            .find(|folder| folder.join("sql").is_dir())
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    std::fs::create_dir_all(home.join("lists/partial"))?;
    let parts = home.join("sources");
    source_lists(&parts)?;
    let apt = |arguments: &[&str]| -> Result<()> {
        let status = Command::new("apt-get")
            .current_dir(&home)
            .args(["-qq", "-o", "Dir::Etc::sourcelist=/dev/null", "-o"])
            .arg(format!("Dir::Etc::sourceparts={}", parts.display()))
            .arg("-o")
            .arg(format!("Dir::State::lists={}", home.join("lists").display()))
            .args(arguments)
            .status()?;
        ensure!(status.success(), "apt-get {arguments:?}: {status}");
        Ok(())
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", PACKAGE])?;
    let archive = std::fs::read_dir(&home)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains(".orig.tar"))
        .context("the package has no archive of PostgreSQL's own source")?;
    let status = Command::new("tar")
        .current_dir(&home)
        .args(["--wildcards", "-xf"])
        .arg(archive)
        .arg(format!("*/{FOLDER}/*"))
        .status()?;
    ensure!(status.success(), "tar: {status}");
    find().context("the package has no regression SQL")
}

/// Where this machine has its packages from, asked for their sources.
fn source_lists(parts: &Path) -> Result<()> {
    std::fs::create_dir_all(parts)?;
    let listed = std::fs::read_dir("/etc/apt/sources.list.d")?.filter_map(|entry| Some(entry.ok()?.path()));
    for path in listed.chain([PathBuf::from("/etc/apt/sources.list")]) {
        let (Ok(text), Some(name)) = (std::fs::read_to_string(&path), path.file_name()) else {
            continue;
        };
        // The release's own package serves; another vendor's entries, and those of urgent updates, may have no sources.
        let entries = text.split_inclusive(if text.contains("Types:") { "\n\n" } else { "\n" });
        let sources: String = entries
            .filter(|entry| entry.contains("debian") && !entry.contains("security"))
            .map(|entry| entry.replace("Types: deb\n", "Types: deb-src\n"))
            .map(|entry| match entry.strip_prefix("deb ") {
                Some(rest) => format!("deb-src {rest}"),
                None => entry,
            })
            .collect();
        std::fs::write(parts.join(name), sources)?;
    }
    Ok(())
}

/// One script's connection, and the schema as it sees it.
struct Run {
    client: Client,
    snapshot: Snapshot,
    /// The schema may have moved since.
    stale: bool,
}

impl Run {
    async fn open(cluster: &Cluster) -> Result<Self> {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(cluster.port())
            .user("postgres")
            .password(cluster.password())
            .dbname("regression");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        let system: String = client.query_one(query(Part::System), &[]).await?.get(0);
        let snapshot = read_system(&system).map_err(anyhow::Error::msg)?;
        Ok(Self {
            client,
            snapshot,
            stale: true,
        })
    }

    async fn refresh(&mut self) {
        // In a failed transaction nothing can be read, and nothing has moved.
        if let Ok(messages) = self.client.simple_query(query(Part::User)).await {
            let text = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            if let Some(snapshot) = text.and_then(|text| read_user(&self.snapshot, text).ok()) {
                self.snapshot = snapshot;
                self.stale = false;
            }
        }
    }

    async fn one(&mut self, text: &str, tally: &Mutex<Tally>) -> Result<()> {
        if self.stale {
            self.refresh().await;
        }
        let read = hoop::sql::read(text, &self.snapshot);
        let copies = starts_with_copy(text);
        let ran = if copies {
            true
        } else {
            let ran = tokio::time::timeout(Duration::from_secs(20), self.client.simple_query(text)).await;
            matches!(ran, Ok(Ok(_)))
        };
        let barrier = match &read {
            Ok(statements) => statements
                .iter()
                .any(|one| one.barrier != Barrier::None || !one.opaque.is_empty()),
            Err(_) => true,
        };
        self.stale |= barrier || !self.snapshot_stands(text);
        let mut tally = tally.lock().expect("no worker panicked");
        tally.all += 1;
        if let Ok(statements) = &read {
            let alarm = statements
                .iter()
                .flat_map(|one| &one.opaque)
                .find(|why| why.contains("two readers"));
            if let Some(alarm) = alarm {
                tally.alarms.push(format!("{alarm}: {text}"));
            }
        }
        if read == Err(Unreadable::Crashed) {
            tally.crashes.push(text.to_owned());
        }
        if !ran {
            return Ok(());
        }
        tally.accepted += 1;
        match read {
            Ok(statements) if statements.iter().all(|one| one.opaque.is_empty()) => tally.understood += 1,
            Ok(statements) => {
                let reason = statements
                    .iter()
                    .flat_map(|one| &one.opaque)
                    .next()
                    .expect("one is opaque");
                tally.opaque.entry(without_names(reason)).or_default().add(text);
            }
            Err(why) => {
                let shown = match &why {
                    Unreadable::Syntax { .. } => "not in the grammar".to_owned(),
                    other => other.to_string(),
                };
                tally.unread.entry(shown).or_default().add(text);
            }
        }
        Ok(())
    }

    /// False for what moves names without saying so in its tree.
    fn snapshot_stands(&self, text: &str) -> bool {
        let lower = text.to_ascii_lowercase();
        let moves = |word: &str| {
            matches!(
                word,
                "search_path" | "authorization" | "role" | "abort" | "end" | "commit"
            )
        };
        !lower
            .split(|symbol: char| !symbol.is_ascii_alphanumeric() && symbol != '_')
            .any(moves)
    }
}

/// COPY needs a peer that sends or takes data: it is read, and counted as accepted, but not run.
fn starts_with_copy(mut text: &str) -> bool {
    loop {
        text = text.trim_start();
        if text.starts_with("--") {
            text = &text[line(text.as_bytes())..];
        } else if text.starts_with("/*") {
            text = &text[comment(text.as_bytes())..];
        } else {
            return text.to_ascii_lowercase().starts_with("copy");
        }
    }
}

/// A reason without the names in it.
fn without_names(reason: &str) -> String {
    let mut parts = reason.split('"');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    while let Some(_name) = parts.next() {
        plain.push('…');
        plain.push_str(parts.next().unwrap_or_default());
    }
    plain
}

/// The statements of a psql script, without psql's own commands and the data of COPY.
fn statements(script: &str, folder: &Path) -> Vec<String> {
    let script = script
        .replace(":'abs_srcdir'", &format!("'{}'", folder.display()))
        .replace(":'filename'", "'/nowhere'");
    let bytes = script.as_bytes();
    let (mut found, mut at, mut start, mut brackets) = (Vec::new(), 0, 0, 0_usize);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match bytes[at] {
            b'\'' => at += literal(rest, script[..at].ends_with(['e', 'E'])),
            b'"' => {
                at += 1 + rest[1..]
                    .iter()
                    .position(|byte| *byte == b'"')
                    .map_or(rest.len(), |end| end + 1)
            }
            b'-' if rest.starts_with(b"--") => at += line(rest),
            b'/' if rest.starts_with(b"/*") => at += comment(rest),
            b'$' => at += dollar(rest, start < at && bytes[at - 1].is_ascii_alphanumeric()),
            b'(' => {
                brackets += 1;
                at += 1;
            }
            b')' => {
                brackets = brackets.saturating_sub(1);
                at += 1;
            }
            b'\\' => {
                // `\g` and its kin send what stands before them.
                keep(&script[start..at], &mut found);
                at += line(rest);
                (start, brackets) = (at, 0);
            }
            b';' if brackets == 0 && !in_body(&script[start..at]) => {
                let statement = &script[start..at];
                at += 1;
                keep(statement, &mut found);
                let lower = statement.to_ascii_lowercase();
                if lower.contains("copy") && lower.contains("from stdin") {
                    let data = script[at..].find("\n\\.").map_or(bytes.len() - at, |end| end + 3);
                    at += data;
                }
                start = at;
            }
            _ => at += 1,
        }
        at = at.min(bytes.len());
        while !script.is_char_boundary(at) {
            at += 1;
        }
    }
    keep(&script[start..], &mut found);
    found
}

/// In `BEGIN ATOMIC … END` the semicolons belong to the body.
fn in_body(statement: &str) -> bool {
    let lower = statement.to_ascii_lowercase();
    let words = || lower.split(|symbol: char| !symbol.is_ascii_alphanumeric());
    let opened = lower.contains("begin atomic");
    opened && words().filter(|word| *word == "end").count() <= words().filter(|word| *word == "case").count()
}

fn keep(statement: &str, found: &mut Vec<String>) {
    if statement
        .lines()
        .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    {
        found.push(statement.trim().to_owned());
    }
}

fn line(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn literal(rest: &[u8], escapes: bool) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' if escapes => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn dollar(rest: &[u8], in_word: bool) -> usize {
    let tag = rest[1..]
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    match tag {
        Some(end) if rest[end + 1] == b'$' && !in_word && !rest[1].is_ascii_digit() => {
            let quote = &rest[..end + 2];
            let body = &rest[quote.len()..];
            let close = body.windows(quote.len()).position(|window| window == quote);
            close.map_or(rest.len(), |close| close + 2 * quote.len())
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_cut_where_psql_cuts_it() {
        let script = "-- a comment;\nSELECT ';', $$;$$, $x$ $$; $x$, E'\\';', \"a;b\" /* ; /* ; */ */;\n\
            \\set x 1\nCOPY t FROM STDIN;\n1;2\n\\.\nSELECT (1;2); SELECT 3 \\gset\nSELECT $1;\n\
            CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;\nSELECT 4";
        assert_eq!(
            statements(script, Path::new("/")),
            [
                "-- a comment;\nSELECT ';', $$;$$, $x$ $$; $x$, E'\\';', \"a;b\" /* ; /* ; */ */",
                "COPY t FROM STDIN",
                "SELECT (1;2)",
                "SELECT 3",
                "SELECT $1",
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
                "SELECT 4",
            ]
        );
    }
}
