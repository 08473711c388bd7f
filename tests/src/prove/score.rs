//! The scorecard: one line per goal, in words and in JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// Measured durations.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The value below which `percent` of all lie (nearest rank).
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn words(&self) -> String {
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| milliseconds(self.percentile(percent)));
        format!("p50 {p50:.1} p90 {p90:.1} p99 {p99:.1} max {max:.1} ms")
    }

    fn json(&self) -> Value {
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| milliseconds(self.percentile(percent)));
        json!({ "n": self.len(), "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": max })
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

/// What a goal asks for: so many tries, none wrong, and in time.
#[derive(Debug, Clone, Copy)]
pub struct Aim {
    /// At least so many tries.
    pub tries: u64,
    /// 99 of 100 within this.
    pub p99: Option<Duration>,
}

impl Aim {
    /// So many tries, whatever they take.
    pub const fn of(tries: u64) -> Self {
        Self { tries, p99: None }
    }

    /// So many tries, 99 of 100 within so many milliseconds.
    pub const fn within(tries: u64, milliseconds: u64) -> Self {
        Self {
            tries,
            p99: Some(Duration::from_millis(milliseconds)),
        }
    }
}

/// One line of the scorecard.
#[derive(Debug, Clone)]
pub struct Score {
    /// The goal, such as `R5`.
    pub goal: &'static str,
    /// What was measured.
    pub what: String,
    /// How many times.
    pub n: u64,
    /// What went wrong.
    pub violations: Vec<String>,
    /// How long it took, where that matters.
    pub times: Option<Times>,
    /// What a serious release needs.
    pub floor: Aim,
    /// The best in the field.
    pub bar: Aim,
}

impl Score {
    /// A score without tries yet.
    pub fn new(goal: &'static str, what: impl Into<String>, floor: Aim, bar: Aim) -> Self {
        Self {
            goal,
            what: what.into(),
            n: 0,
            violations: Vec::new(),
            times: None,
            floor,
            bar,
        }
    }

    /// Notes a violation.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Counts a try and notes what went wrong in it.
    pub fn check(&mut self, right: bool, what: impl FnOnce() -> String) {
        self.n += 1;
        if !right {
            self.violations.push(what());
        }
    }

    /// Adds a measured time.
    pub fn took(&mut self, time: Duration) {
        self.times.get_or_insert_default().add(time);
    }

    /// Adds the tries of another run of the same proof.
    pub fn join(&mut self, other: Self) {
        self.n += other.n;
        self.violations.extend(other.violations);
        for time in other.times.into_iter().flat_map(|times| times.0) {
            self.took(time);
        }
    }

    fn reaches(&self, aim: Aim) -> &'static str {
        let in_time = aim
            .p99
            .is_none_or(|limit| self.times.as_ref().is_some_and(|times| times.percentile(99) <= limit));
        match (self.violations.is_empty(), in_time, self.n >= aim.tries) {
            (false, _, _) => "FAIL",
            (true, false, _) => "slow",
            (true, true, false) => "few",
            (true, true, true) => "pass",
        }
    }

    /// The line.
    pub fn line(&self) -> String {
        let times = self
            .times
            .as_ref()
            .map(|times| format!("; {}", times.words()))
            .unwrap_or_default();
        format!(
            "{:<4} n={:<7} violations={:<3} floor {:<4} bar {:<4}  {}{times}",
            self.goal,
            self.n,
            self.violations.len(),
            self.reaches(self.floor),
            self.reaches(self.bar),
            self.what,
        )
    }

    /// The line's JSON.
    pub fn json(&self) -> Value {
        json!({
            "goal": self.goal, "what": self.what, "n": self.n, "violations": self.violations,
            "times": self.times.as_ref().map(Times::json),
            "floor": self.reaches(self.floor), "bar": self.reaches(self.bar),
        })
    }
}

/// What a proof found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The lines.
    pub scores: Vec<Score>,
}

impl Report {
    /// Everything that went wrong.
    pub fn violations(&self) -> Vec<String> {
        let each = |score: &Score| {
            let goal = score.goal;
            score
                .violations
                .iter()
                .map(move |violation| format!("{goal}: {violation}"))
                .collect::<Vec<_>>()
        };
        self.scores.iter().flat_map(each).collect()
    }

    /// Prints the lines; fails with the violations, and with the scores that tried nothing: those prove nothing.
    pub fn sound(&self) -> anyhow::Result<()> {
        self.scores.iter().for_each(|score| println!("{}", score.line()));
        self.verdict()
    }

    /// As [`Report::sound`], without printing.
    pub fn verdict(&self) -> anyhow::Result<()> {
        for score in &self.scores {
            anyhow::ensure!(score.n > 0, "{} tried nothing", score.what);
        }
        let wrong = self.violations();
        anyhow::ensure!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    }
}
