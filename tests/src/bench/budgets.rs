//! The budgets, and whether this run met them.

use super::bulk::{KINDS, Moved};
use super::report::{Outcome, cells, ratio, spread};
use super::rig::Leg;
use super::slices::{Cell, Work};

/// One promise.
pub struct Budget {
    /// What.
    pub figure: String,
    /// How much.
    pub budget: String,
    /// What this run found.
    pub here: String,
    /// Whether that is within it; `None` when it was not measured.
    pub met: Option<bool>,
}

impl Budget {
    fn new(figure: impl Into<String>, budget: impl Into<String>, here: impl Into<String>, met: Option<bool>) -> Self {
        Self {
            figure: figure.into(),
            budget: budget.into(),
            here: here.into(),
            met,
        }
    }

    fn at_most(figure: impl Into<String>, limit: f64, unit: &str, here: f64) -> Self {
        let digits = if limit < 10.0 { 2 } else { 1 };
        Self::new(
            figure,
            format!("≤ {limit}{unit}"),
            format!("{here:.digits$}{unit}"),
            here.is_finite().then_some(here <= limit),
        )
    }

    fn at_least(figure: impl Into<String>, limit: f64, unit: &str, here: f64) -> Self {
        let digits = if limit < 10.0 { 2 } else { 0 };
        Self::new(
            figure,
            format!("≥ {limit}{unit}"),
            format!("{here:.digits$}{unit}"),
            here.is_finite().then_some(here >= limit),
        )
    }
}

impl Outcome {
    /// Every budget of the design, measured or not.
    pub fn budgets(&self) -> Vec<Budget> {
        let mut all = Vec::new();
        for tls in [false, true] {
            self.cpu(tls, &mut all);
            self.latency(tls, &mut all);
            self.bulk_budgets(tls, &mut all);
            let cell = cells(&self.samples, tls)
                .into_iter()
                .find(|cell| cell.work == Work::Connect);
            if let Some(found) =
                cell.and_then(|cell| ratio(&self.samples, &cell, (Leg::Hoop, Leg::PgBouncer), |s| s.tps))
            {
                let figure = format!("connect + query + disconnect ÷ PgBouncer, {}", on_off(tls));
                all.push(Budget::at_least(figure, 0.9, "", found.median));
            }
        }
        self.rest(&mut all);
        all
    }

    fn cpu(&self, tls: bool, all: &mut Vec<Budget>) {
        for cell in cells(&self.samples, tls)
            .iter()
            .filter(|cell| cell.work != Work::Connect)
        {
            let found = ratio(&self.samples, cell, (Leg::Hoop, Leg::PgBouncer), |sample| sample.cpu);
            let here = found.map_or(f64::NAN, |found| found.median);
            all.push(Budget::at_most(
                format!("CPU per statement ÷ PgBouncer: {}, {}", cell.name(), on_off(tls)),
                1.25,
                "",
                here,
            ));
        }
    }

    fn latency(&self, tls: bool, all: &mut Vec<Budget>) {
        for cell in cells(&self.samples, tls)
            .iter()
            .filter(|cell| cell.work != Work::Connect && cell.clients == 1)
        {
            for (index, name) in [(0, "p50"), (1, "p99")] {
                // The COMMIT waits for the disk.
                let waits = if cell.work == Work::Update {
                    self.control.fdatasync[index] * 1e3
                } else {
                    0.0
                };
                let (Some(ours), Some(theirs)) = (
                    self.added(cell, Leg::Hoop, index),
                    self.added(cell, Leg::PgBouncer, index),
                ) else {
                    continue;
                };
                let syncs = if waits > 0.0 {
                    format!(" + fdatasync ({waits:.0} µs)")
                } else {
                    String::new()
                };
                all.push(Budget::new(
                    format!("added {name}: {}, {}", cell.name(), on_off(tls)),
                    format!("≤ PgBouncer's {theirs:.0} µs{syncs}"),
                    format!("{ours:.0} µs"),
                    Some(ours <= theirs + waits),
                ));
            }
        }
    }

    fn added(&self, cell: &Cell, leg: Leg, index: usize) -> Option<f64> {
        let of =
            |leg| spread(&self.samples, cell, leg, move |sample| sample.latency[index]).map(|spread| spread.median);
        Some(of(leg)? - of(Leg::Direct)?)
    }

    fn bulk_budgets(&self, tls: bool, all: &mut Vec<Budget>) {
        let figures: [(&str, Figure); 2] = [("time", |moved| moved.seconds), ("CPU", |moved| moved.cpu)];
        for kind in KINDS {
            for (name, of) in figures {
                let Some(ours) = self.moved(Leg::Hoop, tls, kind, of) else {
                    continue;
                };
                let rivals = [Leg::PgBouncer, Leg::PgBouncer64k]
                    .into_iter()
                    .filter_map(|leg| self.moved(leg, tls, kind, of));
                let best = rivals.map(|found| found.median).fold(f64::INFINITY, f64::min);
                // The clock of /proc ticks every 10 ms.
                let met = ours.median <= best + 0.01;
                let figure = format!("1M rows, {kind}, {name}, {}", on_off(tls));
                all.push(Budget::new(
                    figure,
                    format!("≤ PgBouncer's best, {best:.2} s"),
                    format!("{:.2} s", ours.median),
                    Some(met),
                ));
            }
        }
    }

    fn rest(&self, all: &mut Vec<Budget>) {
        let decision = |index: usize| {
            self.inner
                .decisions
                .get(index)
                .map_or((f64::NAN, f64::NAN), |(_, cold, cached)| (cold.median, cached.median))
        };
        all.push(Budget::at_most("cached decision", 1.0, " µs", decision(0).1));
        all.push(Budget::at_most(
            "cold decision, pgbench select",
            60.0,
            " µs",
            decision(0).0,
        ));
        all.push(Budget::at_most("cold decision, 3 joins", 250.0, " µs", decision(1).0));
        for tls in [false, true] {
            let idle = self
                .idle
                .iter()
                .filter(|idle| idle.leg == Leg::Hoop && idle.tls == tls)
                .max_by_key(|idle| idle.sessions);
            let sessions = idle.map_or(0, |idle| idle.sessions);
            let figure = format!("memory per idle session, {sessions} of them, {}", on_off(tls));
            all.push(Budget::at_most(
                figure,
                64.0,
                " KiB",
                idle.map_or(f64::NAN, |idle| idle.kib),
            ));
        }
        let control = &self.control;
        all.push(Budget::at_most("grant minted, p50", 5.0, " ms", control.mint[0]));
        all.push(Budget::at_most("grant minted, p99", 25.0, " ms", control.mint[1]));
        all.push(Budget::at_least("grants per second, `shared`", 300.0, "", control.rate));
        all.push(Budget::at_most(
            "revoke → client cut, p99, one broker",
            500.0,
            " ms",
            control.cut[1],
        ));
        all.push(Budget::at_least(
            "ledger append, records per second",
            100_000.0,
            "",
            self.inner.ledger[0],
        ));
        all.push(Budget::at_least(
            "ledger verify, records per second",
            500_000.0,
            "",
            self.inner.ledger[2],
        ));
        for (figure, budget) in [
            ("masked 1M-row read ÷ the same masked view", "≤ 1.05"),
            ("grants per second, a role each", "≥ 100"),
            ("revoke over three replicas, p99", "≤ 2 s"),
            ("start-up with 10,000 live grants", "≤ 2 s"),
        ] {
            all.push(Budget::new(figure, budget, "–", None));
        }
    }
}

fn on_off(tls: bool) -> &'static str {
    if tls { "TLS on" } else { "TLS off" }
}

/// One figure of a bulk transfer.
type Figure = fn(&Moved) -> f64;
