//! Two witnesses of what was executed that know nothing of each other: the server's own log of the broker's login, and
//! the broker's ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hoop::base::id::SessionId;
use hoop::ledger::{Entry, Record, Status, chain};

/// A file that grows, read on from where it was left. Only whole lines are given out.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    at: u64,
}

impl Tail {
    /// From the file's beginning.
    pub fn new(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// The whole lines since the last call.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let mut file = File::open(&self.path).with_context(|| self.path.display().to_string())?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.at += u64::try_from(whole)?;
        text.truncate(whole);
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    }
}

/// The markers in a text: `mk`, letters and digits, `x`.
pub fn markers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("mk") {
        let word = &rest[start..];
        let end = word
            .find(|letter: char| !letter.is_ascii_alphanumeric())
            .unwrap_or(word.len());
        if word[..end].ends_with('x') {
            found.push(word[..end].to_owned());
        }
        rest = &word[end..];
    }
    found
}

/// The server's log: how often each backend of a job was given each marked statement.
#[derive(Debug)]
pub struct ServerLog {
    tail: Tail,
    /// By marker: backend and count.
    pub seen: HashMap<String, (i32, u64)>,
}

impl ServerLog {
    /// The log of a cluster whose `log_line_prefix` is `%p %a `.
    pub fn new(home: &Path) -> Self {
        Self {
            tail: Tail::new(home.join("server.log")),
            seen: HashMap::new(),
        }
    }

    /// Reads on. Gives the new markers, and the statements of jobs' backends that nobody asked for.
    pub fn read(&mut self) -> Result<(BTreeSet<String>, Vec<String>)> {
        let (mut fresh, mut unexplained) = (BTreeSet::new(), Vec::new());
        for line in self.tail.lines()? {
            let Some((pid, rest)) = line.split_once(' ') else {
                continue;
            };
            let (Ok(pid), true) = (pid.parse::<i32>(), rest.starts_with("hoop ")) else {
                continue;
            };
            let Some(text) = statement(rest) else { continue };
            let found = markers(text);
            if found.is_empty() && !is_own(text) {
                unexplained.push(format!("the server ran what no client sent: {text}"));
            }
            for marker in found {
                let entry = self.seen.entry(marker.clone()).or_insert((pid, 0));
                entry.1 += 1;
                if entry.0 != pid {
                    unexplained.push(format!("{marker} ran in two backends"));
                }
                fresh.insert(marker);
            }
        }
        Ok((fresh, unexplained))
    }
}

/// The statement of a log line, if it tells of one.
fn statement(line: &str) -> Option<&str> {
    if let Some((_, text)) = line.split_once(" LOG:  statement: ") {
        return Some(text);
    }
    let (_, text) = line.split_once(" LOG:  execute ")?;
    text.split_once(": ").map(|(_, text)| text)
}

/// What the broker itself sends over a job's connection.
fn is_own(text: &str) -> bool {
    matches!(text, "DISCARD ALL" | "RESET ROLE")
        || text.starts_with("SELECT pg_catalog.set_config(")
        || text.starts_with("SELECT pg_catalog.hoop_denied_")
}

/// One execution in the ledger.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The backend it was meant for.
    pub backend: Option<i32>,
    /// Its outcome.
    pub outcome: Option<Outcome>,
}

/// How an execution ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The word.
    pub status: Status,
    /// The command tag.
    pub tag: String,
    /// The SQLSTATE.
    pub sqlstate: String,
}

/// The recovered ledger, read on segment by segment.
#[derive(Debug)]
pub struct Book {
    folder: PathBuf,
    tails: BTreeMap<String, Tail>,
    backends: HashMap<SessionId, i32>,
    texts: HashMap<(SessionId, u64), Vec<String>>,
    open: HashMap<(SessionId, u64), Vec<(String, usize)>>,
    /// Executions by marker.
    pub executions: HashMap<String, Vec<Execution>>,
    /// Markers of denied statements.
    pub denied: BTreeSet<String>,
    /// Outcomes `unknown`.
    pub unknown: u64,
}

impl Book {
    /// The ledger in the state directory `state`.
    pub fn new(state: &Path) -> Self {
        Self {
            folder: state.join("ledger/chain"),
            tails: BTreeMap::new(),
            backends: HashMap::new(),
            texts: HashMap::new(),
            open: HashMap::new(),
            executions: HashMap::new(),
            denied: BTreeSet::new(),
            unknown: 0,
        }
    }

    /// Reads on. Gives what contradicts the ledger's own rules.
    pub fn read(&mut self) -> Result<Vec<String>> {
        let mut names: Vec<String> = fs::read_dir(&self.folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        let mut wrong = Vec::new();
        for name in names {
            let path = self.folder.join(&name);
            let lines = self.tails.entry(name).or_insert_with(|| Tail::new(path)).lines()?;
            for line in lines {
                let (_, json) = chain::split(line.as_bytes()).context("a chain line without a hash")?;
                self.take(Entry::parse(json)?.record, &mut wrong);
            }
        }
        Ok(wrong)
    }

    fn take(&mut self, record: Record<'static>, wrong: &mut Vec<String>) {
        match record {
            Record::SessionOpened {
                session, backend_pid, ..
            } => {
                self.backends.insert(session, backend_pid);
            }
            Record::Statement { session, n, text, .. } => {
                self.texts.insert((session, n), markers(&text));
            }
            Record::Intent {
                session, i, n, text, ..
            } => {
                let own = text.map(|text| markers(&text));
                let prepared = n.and_then(|n| self.texts.get(&(session, n)).cloned());
                let backend = self.backends.get(&session).copied();
                let mut places = Vec::new();
                for marker in own.or(prepared).unwrap_or_default() {
                    let all = self.executions.entry(marker.clone()).or_default();
                    places.push((marker, all.len()));
                    all.push(Execution { backend, outcome: None });
                }
                if self.open.insert((session, i), places).is_some() {
                    wrong.push(format!("{session} has two open intents {i}"));
                }
            }
            Record::Outcome {
                session,
                i,
                status,
                tag,
                sqlstate,
                ..
            } => {
                self.unknown += u64::from(status == Status::Unknown);
                let Some(places) = self.open.remove(&(session, i)) else {
                    wrong.push(format!("{session} has an outcome {i} without an open intent"));
                    return;
                };
                for (marker, index) in places {
                    let outcome = Outcome {
                        status,
                        tag: tag.as_deref().unwrap_or_default().to_owned(),
                        sqlstate: sqlstate.as_deref().unwrap_or_default().to_owned(),
                    };
                    if let Some(execution) = self.executions.get_mut(&marker).and_then(|all| all.get_mut(index)) {
                        execution.outcome = Some(outcome);
                    }
                }
            }
            Record::Denied { text, .. } => self.denied.extend(markers(&text)),
            Record::BrokerStarted { .. } => {
                for (session, i) in self.open.keys() {
                    wrong.push(format!("{session} intent {i} has no outcome after a restart"));
                }
                self.open.clear();
            }
            _ => {}
        }
    }

    /// How many executions of `marker` ended with this.
    pub fn count(&self, marker: &str, ended: impl Fn(&Outcome) -> bool) -> u64 {
        let all = self.executions.get(marker).into_iter().flatten();
        all.filter(|execution| execution.outcome.as_ref().is_some_and(&ended))
            .count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_found_wherever_they_stand() {
        let text = "INSERT INTO t VALUES (1, 'mk1c2n3x'); BEGIN /* mk1c2n4x */; SELECT 'mk', 'mk12'";
        assert_eq!(markers(text), ["mk1c2n3x", "mk1c2n4x"]);
    }

    #[test]
    fn only_statements_of_the_log_count() {
        assert_eq!(statement("hoop a/b run 1 LOG:  statement: BEGIN"), Some("BEGIN"));
        assert_eq!(
            statement("hoop a/b run 1 LOG:  execute p1: SELECT ': '"),
            Some("SELECT ': '")
        );
        assert_eq!(statement("hoop a/b run 1 STATEMENT:  BEGIN"), None);
    }
}
