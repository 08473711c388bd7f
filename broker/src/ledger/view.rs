//! Sessions as people ask for them: records folded into summaries and into one session's whole story.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::base::id::{GrantId, SessionId};
use crate::sql::Class;

use super::record::{Counts, Cut, Entry, Minted, Record, Status};

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this repository (`owner/name`).
    pub repository: Option<String>,
    /// Only this grant.
    pub grant: Option<GrantId>,
    /// Only sessions opened at or after this, in microseconds since the epoch.
    pub since: Option<i64>,
    /// Only sessions in which something was denied.
    pub denied: bool,
    /// At most this many, the latest.
    pub limit: Option<usize>,
}

/// What became of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// It goes on, as far as the ledger tells.
    Open,
    /// It ended.
    Closed {
        /// In words.
        why: String,
    },
    /// The broker died with it.
    Lost,
}

/// One session in a list. The job's identity is absent when the grant's record is not in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionSummary {
    /// The session.
    pub session: SessionId,
    /// Its grant.
    pub grant: GrantId,
    /// Microseconds since the epoch.
    pub opened_at: i64,
    /// Microseconds since the epoch.
    pub closed_at: Option<i64>,
    /// What became of it.
    #[serde(flatten)]
    pub state: State,
    /// `owner/name`.
    pub repository: Option<String>,
    /// The scope.
    pub scope: Option<String>,
    /// The operator's name of the database.
    pub database: Option<String>,
    /// The workflow.
    pub workflow: Option<String>,
    /// The run.
    pub run_id: Option<String>,
    /// The job.
    pub job_id: Option<String>,
    /// Who started it.
    pub actor: Option<String>,
    /// The client's address.
    pub address: String,
    /// `application_name`.
    pub application: Option<String>,
    /// Executions sent.
    pub executions: u64,
    /// Statements denied.
    pub denied: u64,
    /// Executions that failed.
    pub failed: u64,
    /// Executions whose outcome nobody knows.
    pub unknown: u64,
    /// Rows, as the outcomes count them.
    pub rows: u64,
    /// Masked values, by column.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub masked: Counts,
    /// What was found in texts, by kind.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub detected: Counts,
}

/// One session's story.
#[derive(Debug, Clone, Serialize)]
pub struct SessionDetail {
    /// The summary.
    #[serde(flatten)]
    pub summary: SessionSummary,
    /// The grant's record.
    pub identity: Option<Minted<'static>>,
    /// What happened, in the order it was recorded.
    pub steps: Vec<Step>,
}

/// One statement of a session: executed or denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Microseconds since the epoch.
    pub t: i64,
    /// Its number in the chain.
    pub seq: u64,
    /// The statement's class, when it was allowed.
    pub class: Option<Class>,
    /// The text, possibly cut.
    pub text: String,
    /// Present when it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// How many parameters were bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<u32>,
    /// What was decided.
    pub decision: Decided,
    /// What became of it; absent when it was denied or goes on.
    pub outcome: Option<Ended>,
}

/// The decision on a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "decision")]
pub enum Decided {
    /// It was sent.
    Allowed {
        /// The policy lines that allowed it.
        rules: Vec<String>,
    },
    /// It was not.
    Denied {
        /// The stable code.
        code: String,
        /// The policy line.
        origin: String,
        /// What was asked, without literals.
        asked: String,
    },
}

/// The outcome of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// How.
    pub status: Status,
    /// The command tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Rows returned or affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The server's SQLSTATE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// Masked values, by column.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub masked: Counts,
    /// What was found in texts, by kind.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub detected: Counts,
    /// How long it took.
    pub micros: u64,
}

/// The kinds [`Summaries`] wants; a reader need not parse others.
pub const SUMMARY_KINDS: [&str; 7] = [
    "session-opened",
    "session-closed",
    "intent",
    "outcome",
    "denied",
    "grant-minted",
    "broker-started",
];

/// Folds a whole ledger into session summaries.
#[derive(Debug, Default)]
pub struct Summaries {
    sessions: BTreeMap<SessionId, SessionSummary>,
    grants: HashMap<GrantId, Brief>,
}

/// What a summary shows of a grant.
#[derive(Debug, Clone)]
struct Brief {
    repository: String,
    scope: String,
    database: String,
    workflow: Option<String>,
    run_id: Option<String>,
    job_id: Option<String>,
    actor: Option<String>,
}

impl Summaries {
    /// Takes the next record.
    pub fn take(&mut self, entry: Entry) {
        match entry.record {
            Record::GrantMinted(minted) => {
                self.grants.insert(minted.grant, brief(*minted));
            }
            Record::BrokerStarted { .. } => self.sessions.values_mut().for_each(lose),
            record => {
                if let Some(summary) = open(entry.t, &record) {
                    self.sessions.insert(summary.session, summary);
                } else if let Some(summary) = session_of(&record).and_then(|id| self.sessions.get_mut(&id)) {
                    count(summary, entry.t, &record);
                }
            }
        }
    }

    /// The sessions that pass `filter`, oldest first.
    pub fn finish(mut self, filter: &Filter) -> Vec<SessionSummary> {
        for summary in self.sessions.values_mut() {
            if let Some(brief) = self.grants.get(&summary.grant) {
                identify(summary, brief);
            }
        }
        let mut found: Vec<_> = self.sessions.into_values().filter(|one| passes(one, filter)).collect();
        found.sort_by_key(|one| (one.opened_at, one.session));
        if let Some(limit) = filter.limit {
            found.drain(..found.len().saturating_sub(limit));
        }
        found
    }
}

/// Folds the records of one session into its story.
#[derive(Debug, Default)]
pub struct Story {
    summary: Option<SessionSummary>,
    identity: Option<Minted<'static>>,
    /// Prepared statements by number.
    statements: HashMap<u64, (Class, String, Option<Cut>, Vec<String>)>,
    steps: Vec<Step>,
    /// Steps by execution number.
    executions: HashMap<u64, usize>,
}

impl Story {
    /// Takes the next record: of the session, of its grant, or the broker's start.
    pub fn take(&mut self, entry: Entry) {
        let Entry { seq, t, record } = entry;
        if let Some(summary) = open(t, &record) {
            self.summary = Some(summary);
            return;
        }
        if let Some(summary) = &mut self.summary {
            count(summary, t, &record);
        }
        match record {
            Record::GrantMinted(minted) => self.identity = Some(*minted),
            Record::BrokerStarted { .. } => self.summary.iter_mut().for_each(lose),
            Record::Statement {
                n,
                class,
                text,
                cut,
                rules,
                ..
            } => {
                self.statements
                    .insert(n, (class, text.into_owned(), cut, rules.texts()));
            }
            Record::Outcome {
                i,
                status,
                tag,
                rows,
                sqlstate,
                masked,
                detected,
                micros,
                ..
            } => {
                if let Some(step) = self.executions.get(&i).and_then(|at| self.steps.get_mut(*at)) {
                    step.outcome = Some(Ended {
                        status,
                        tag: tag.map(Into::into),
                        rows,
                        sqlstate: sqlstate.map(Into::into),
                        masked,
                        detected,
                        micros,
                    });
                }
            }
            record => self.step(seq, t, record),
        }
    }

    fn step(&mut self, seq: u64, t: i64, record: Record<'static>) {
        match record {
            Record::Intent {
                i,
                n,
                params,
                class,
                text,
                cut,
                rules,
                ..
            } => {
                let prepared = n.and_then(|n| self.statements.get(&n)).cloned();
                let (class, text, cut, rules) = match (text, prepared) {
                    (Some(text), _) => (class, text.into_owned(), cut, rules.texts()),
                    (None, Some((class, text, cut, rules))) => (Some(class), text, cut, rules),
                    (None, None) => (class, String::new(), None, rules.texts()),
                };
                self.executions.insert(i, self.steps.len());
                let decision = Decided::Allowed { rules };
                self.steps.push(Step {
                    t,
                    seq,
                    class,
                    text,
                    cut,
                    params,
                    decision,
                    outcome: None,
                });
            }
            Record::Denied {
                code,
                origin,
                asked,
                text,
                cut,
                ..
            } => {
                let decision = Decided::Denied {
                    code: code.into_owned(),
                    origin: origin.into_owned(),
                    asked: asked.into_owned(),
                };
                let text = text.into_owned();
                self.steps.push(Step {
                    t,
                    seq,
                    class: None,
                    text,
                    cut,
                    params: None,
                    decision,
                    outcome: None,
                });
            }
            _ => {}
        }
    }

    /// The session's grant, once it is known.
    pub fn grant(&self) -> Option<GrantId> {
        self.summary.as_ref().map(|summary| summary.grant)
    }

    /// The story, when the session was ever opened.
    pub fn finish(mut self) -> Option<SessionDetail> {
        let mut summary = self.summary.take()?;
        if let Some(minted) = self.identity.clone() {
            identify(&mut summary, &brief(minted));
        }
        Some(SessionDetail {
            summary,
            identity: self.identity,
            steps: self.steps,
        })
    }
}

fn open(t: i64, record: &Record<'static>) -> Option<SessionSummary> {
    let Record::SessionOpened {
        session,
        grant,
        address,
        application,
        ..
    } = record
    else {
        return None;
    };
    Some(SessionSummary {
        session: *session,
        grant: *grant,
        opened_at: t,
        closed_at: None,
        state: State::Open,
        repository: None,
        scope: None,
        database: None,
        workflow: None,
        run_id: None,
        job_id: None,
        actor: None,
        address: address.to_string(),
        application: application.as_deref().map(str::to_owned),
        executions: 0,
        denied: 0,
        failed: 0,
        unknown: 0,
        rows: 0,
        masked: Counts::new(),
        detected: Counts::new(),
    })
}

fn count(summary: &mut SessionSummary, t: i64, record: &Record<'static>) {
    match record {
        Record::Intent { .. } => summary.executions += 1,
        Record::Denied { .. } => summary.denied += 1,
        Record::Outcome {
            status,
            rows,
            masked,
            detected,
            ..
        } => {
            summary.rows = summary.rows.saturating_add(rows.unwrap_or(0));
            for (sums, counts) in [(&mut summary.masked, masked), (&mut summary.detected, detected)] {
                for (name, count) in counts {
                    let sum = sums.entry(name.clone()).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
            match status {
                Status::Error | Status::Cancelled => summary.failed += 1,
                Status::Unknown => summary.unknown += 1,
                Status::Ok | Status::Skipped => {}
            }
        }
        Record::SessionClosed { why, .. } => {
            summary.closed_at = Some(t);
            summary.state = State::Closed { why: why.to_string() };
        }
        _ => {}
    }
}

/// A broker's start ends every session that was open before: none survives the process.
fn lose(summary: &mut SessionSummary) {
    if summary.state == State::Open {
        summary.state = State::Lost;
    }
}

fn session_of(record: &Record<'_>) -> Option<SessionId> {
    match record {
        Record::Intent { session, .. }
        | Record::Outcome { session, .. }
        | Record::Denied { session, .. }
        | Record::SessionClosed { session, .. } => Some(*session),
        _ => None,
    }
}

fn brief(minted: Minted<'static>) -> Brief {
    Brief {
        repository: minted.repository.into_owned(),
        scope: minted.scope.into_owned(),
        database: minted.database.into_owned(),
        workflow: minted.workflow.map(Into::into),
        run_id: minted.run_id.map(Into::into),
        job_id: minted.job_id.map(Into::into),
        actor: minted.actor.map(Into::into),
    }
}

fn identify(summary: &mut SessionSummary, brief: &Brief) {
    summary.repository = Some(brief.repository.clone());
    summary.scope = Some(brief.scope.clone());
    summary.database = Some(brief.database.clone());
    summary.workflow.clone_from(&brief.workflow);
    summary.run_id.clone_from(&brief.run_id);
    summary.job_id.clone_from(&brief.job_id);
    summary.actor.clone_from(&brief.actor);
}

fn passes(summary: &SessionSummary, filter: &Filter) -> bool {
    let repository = filter.repository.as_ref();
    repository.is_none_or(|name| summary.repository.as_ref() == Some(name))
        && filter.grant.is_none_or(|grant| summary.grant == grant)
        && filter.since.is_none_or(|since| summary.opened_at >= since)
        && (!filter.denied || summary.denied > 0)
}
