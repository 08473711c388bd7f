//! What became of the cases: a table per group, and every failure with its reason.

use std::collections::BTreeMap;
use std::fmt;

use super::layer::Layer;

/// Begins the reason of an attack that brought a secret.
pub const LEAKED: &str = "a secret was received";

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An attack that the broker refused in every way it was sent.
    Refused,
    /// An attack that the server refused, or that had no effect.
    WithoutEffect,
    /// An honest statement that worked, or that was refused where it may be; an attack that was answered with masked values. With nobody in between: an attack that works.
    Fine,
    /// There is no script for this case of the wire, or the server is too old for it.
    Skipped,
    /// An attack that worked (with nobody in between: one that did not), an honest statement that did not, or a run that could not be judged; with the reason.
    Failed(String),
}

/// One case's end.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its place in the file.
    pub at: usize,
    /// Its name.
    pub id: String,
    /// What it belongs to.
    pub group: String,
    /// What it tries.
    pub why: String,
    /// Whether it must not work.
    pub attack: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// In how many ways it was sent.
    pub ways: usize,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// In file order.
    pub lines: Vec<Line>,
    /// Who enforced.
    pub layer: Layer,
}

impl Report {
    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Line> {
        self.lines
            .iter()
            .filter(|line| matches!(line.outcome, Outcome::Failed(_)))
    }

    fn count(&self, group: Option<&str>, of: impl Fn(&Line) -> bool) -> usize {
        self.lines
            .iter()
            .filter(|line| group.is_none_or(|group| line.group == group) && of(line))
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: BTreeMap<&str, ()> = BTreeMap::new();
        for line in &self.lines {
            groups.insert(&line.group, ());
        }
        writeln!(
            f,
            "{:<14} {:>6} {:>8} {:>10} {:>7} {:>8} {:>7} {:>6}",
            "group", "cases", "refused", "no effect", "fine", "skipped", "FAILED", "sent"
        )?;
        for group in groups.keys().map(|group| Some(*group)).chain([None]) {
            let of = |outcome: &Outcome| self.count(group, |line| line.outcome == *outcome);
            let sent: usize = self
                .lines
                .iter()
                .filter(|line| group.is_none_or(|group| line.group == group))
                .map(|line| line.ways)
                .sum();
            writeln!(
                f,
                "{:<14} {:>6} {:>8} {:>10} {:>7} {:>8} {:>7} {:>6}",
                group.unwrap_or("all"),
                self.count(group, |_| true),
                of(&Outcome::Refused),
                of(&Outcome::WithoutEffect),
                of(&Outcome::Fine),
                of(&Outcome::Skipped),
                self.count(group, |line| matches!(line.outcome, Outcome::Failed(_))),
                sent,
            )?;
        }
        for line in self.failures() {
            if let Outcome::Failed(reason) = &line.outcome {
                let kind = if line.attack { "attack" } else { "honest" };
                writeln!(f, "\n{} ({kind}; {})\n  {reason}", line.id, line.why)?;
            }
        }
        let worked = self.failures().filter(|line| line.attack).count();
        if self.layer == Layer::Nobody {
            return write!(
                f,
                "\nenforced by {}: {worked} of {} attacks have no effect there either, and show nothing",
                self.layer,
                self.lines.len()
            );
        }
        let broken = self.failures().filter(|line| !line.attack).count();
        write!(
            f,
            "\nenforced by {}: {worked} of {} attacks work; {broken} of {} honest statements do not",
            self.layer,
            self.count(None, |line| line.attack),
            self.count(None, |line| !line.attack)
        )
    }
}
