//! The run on paper: Markdown for people, CSV for everything else.

use std::fmt::Write as _;

use super::bulk::{KINDS, Moved};
use super::control::Control;
use super::idle::Idle;
use super::inner::Inner;
use super::rig::Leg;
use super::slices::{Cell, Method, Sample};
use super::stats::Spread;

/// Everything one run found.
pub struct Outcome {
    /// How it was measured.
    pub method: Method,
    /// Versions and settings, one line each.
    pub settings: Vec<(String, String)>,
    /// Main slices.
    pub samples: Vec<Sample>,
    /// Growth curves.
    pub growth: Vec<Sample>,
    /// Bulk.
    pub bulk: Vec<Moved>,
    /// Idle sessions.
    pub idle: Vec<Idle>,
    /// The control plane.
    pub control: Control,
    /// In-process.
    pub inner: Inner,
    /// Statements compared with the ledger, and where they differ.
    pub checked: (u64, Vec<String>),
}

/// The cells of `samples`, in order of first appearance after sorting.
pub fn cells(samples: &[Sample], tls: bool) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for sample in samples.iter().filter(|sample| sample.cell.tls == tls) {
        if !cells.contains(&sample.cell) {
            cells.push(sample.cell.clone());
        }
    }
    cells.sort_by_key(|cell| (cell.custom.clone(), cell.work, cell.prepared, cell.clients));
    cells
}

/// Every repeat's quotient of `over` and `under`, which are taken inside that repeat.
pub fn ratio(samples: &[Sample], cell: &Cell, legs: (Leg, Leg), of: fn(&Sample) -> f64) -> Option<Spread> {
    let find = |repeat, leg| {
        let found = samples
            .iter()
            .find(|sample| sample.repeat == repeat && sample.leg == leg && sample.cell == *cell);
        found.map(of)
    };
    let repeats: std::collections::BTreeSet<u32> = samples.iter().map(|sample| sample.repeat).collect();
    Spread::of(
        repeats
            .into_iter()
            .filter_map(|repeat| Some(find(repeat, legs.0)? / find(repeat, legs.1)?)),
    )
}

/// A figure over all repeats.
pub fn spread(samples: &[Sample], cell: &Cell, leg: Leg, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
    Spread::of(
        samples
            .iter()
            .filter(|sample| sample.leg == leg && sample.cell == *cell)
            .map(of),
    )
}

fn text(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.text(digits))
}

impl Outcome {
    /// The whole report.
    pub fn markdown(&self, plot: &str) -> String {
        let mut out = String::new();
        let title = "# What it costs to be judged and recorded\n\nWritten by `make bench`. Only ratios inside this run and CPU \
                     seconds say something about the programs; everything else says as much about the machine.\n";
        out.push_str(title);
        let noisy = self
            .samples
            .iter()
            .chain(&self.growth)
            .filter(|sample| sample.noisy)
            .count();
        let all = self.samples.len() + self.growth.len();
        let others = Spread::of(self.samples.iter().map(|sample| sample.others));
        let _ = writeln!(
            out,
            "\nOthers used {} of a core meanwhile. {noisy} of {all} slices, and {} of {} bulk transfers, stayed noisy (others \
             above {} of a core) after {} tries more; they are counted as they are.",
            text(others, 2),
            self.bulk.iter().filter(|moved| moved.noisy).count(),
            self.bulk.len(),
            self.method.tolerated,
            self.method.retries,
        );
        match &self.checked {
            (statements, wrong) if wrong.is_empty() => {
                let _ = writeln!(
                    out,
                    "\nEvery one of the {statements} statements that pgbench counted over hoop-db is in its ledger, grant by grant."
                );
            }
            (_, wrong) => {
                let _ = writeln!(out, "\n**The ledger and pgbench do not agree:**\n");
                wrong.iter().for_each(|line| out.push_str(&format!("- {line}\n")));
            }
        }
        self.budget_table(&mut out);
        let _ = writeln!(out, "\n![CPU per statement]({plot})");
        for tls in [false, true] {
            self.slice_tables(&mut out, tls);
        }
        self.bulk_table(&mut out);
        self.inner_tables(&mut out);
        self.growth_tables(&mut out);
        out.push_str("\n## Versions and settings\n\n| | |\n|---|---|\n");
        for (name, value) in &self.settings {
            let _ = writeln!(out, "| {name} | {value} |");
        }
        out
    }

    fn budget_table(&self, out: &mut String) {
        out.push_str("\n## Budgets\n\n| figure | budget | here | |\n|---|---|---|---|\n");
        for budget in self.budgets() {
            let mark = budget.met.map_or("not measured", |met| if met { "✅" } else { "❌" });
            let _ = writeln!(
                out,
                "| {} | {} | {} | {mark} |",
                budget.figure, budget.budget, budget.here
            );
        }
    }

    fn slice_tables(&self, out: &mut String, tls: bool) {
        let legs = if tls {
            &[Leg::PgBouncer, Leg::Hoop][..]
        } else {
            &[Leg::Relay, Leg::PgBouncer, Leg::Hoop][..]
        };
        let _ = writeln!(out, "\n## TLS {} on the client's leg", if tls { "on" } else { "off" });
        out.push_str("\nThroughput ÷ direct of the same repeat, median (min–max):\n\n| | direct, tps |");
        legs.iter().for_each(|leg| out.push_str(&format!(" {} |", leg.name())));
        let _ = writeln!(out, "\n|---|---|{}", "---|".repeat(legs.len()));
        for cell in cells(&self.samples, tls) {
            let direct = spread(&self.samples, &cell, Leg::Direct, |sample| sample.tps);
            let _ = write!(out, "| {} | {} |", cell.name(), text(direct, 0));
            for leg in legs {
                let _ = write!(
                    out,
                    " {} |",
                    text(ratio(&self.samples, &cell, (*leg, Leg::Direct), |sample| sample.tps), 2)
                );
            }
            out.push('\n');
        }
        out.push_str("\nProxy CPU seconds per 100,000 statements, median (min–max):\n\n|");
        legs.iter().for_each(|leg| out.push_str(&format!(" | {}", leg.name())));
        let _ = writeln!(out, " | hoop-db ÷ PgBouncer |\n|---|{}---|", "---|".repeat(legs.len()));
        for cell in cells(&self.samples, tls) {
            let _ = write!(out, "| {} |", cell.name());
            for leg in legs {
                let _ = write!(
                    out,
                    " {} |",
                    text(spread(&self.samples, &cell, *leg, |sample| sample.cpu), 2)
                );
            }
            let quotient = ratio(&self.samples, &cell, (Leg::Hoop, Leg::PgBouncer), |sample| sample.cpu);
            let _ = writeln!(out, " {} |", text(quotient, 2));
        }
        out.push_str("\nLatency of a transaction in µs, p50 / p99 / p99.9, medians of the repeats:\n\n| | direct |");
        legs.iter().for_each(|leg| out.push_str(&format!(" {} |", leg.name())));
        let _ = writeln!(out, "\n|---|---|{}", "---|".repeat(legs.len()));
        for cell in cells(&self.samples, tls) {
            let _ = write!(out, "| {} |", cell.name());
            for leg in [Leg::Direct].iter().chain(legs) {
                let part = |index: usize| {
                    let found = spread(&self.samples, &cell, *leg, |sample| sample.latency[index]);
                    found.map_or_else(|| "–".to_owned(), |spread| format!("{:.0}", spread.median))
                };
                let _ = write!(out, " {} / {} / {} |", part(0), part(1), part(2));
            }
            out.push('\n');
        }
    }

    fn bulk_table(&self, out: &mut String) {
        out.push_str("\n## Bulk: 1M rows\n\nSeconds, then the proxy's CPU seconds; medians (min–max).\n\n| | SELECT | COPY out | COPY in |\n|---|---|---|---|\n");
        for tls in [false, true] {
            for leg in [Leg::Direct, Leg::Relay, Leg::PgBouncer, Leg::PgBouncer64k, Leg::Hoop] {
                if self.bulk.iter().any(|moved| moved.leg == leg && moved.tls == tls) {
                    let _ = write!(out, "| {}{} |", leg.name(), if tls { ", TLS" } else { "" });
                    for kind in KINDS {
                        let seconds = text(self.moved(leg, tls, kind, |moved| moved.seconds), 2);
                        let _ = write!(
                            out,
                            " {seconds} s · CPU {} |",
                            text(self.moved(leg, tls, kind, |moved| moved.cpu), 2)
                        );
                    }
                    out.push('\n');
                }
            }
        }
    }

    /// A bulk figure over all repeats.
    pub fn moved(&self, leg: Leg, tls: bool, kind: &str, of: fn(&Moved) -> f64) -> Option<Spread> {
        let found = self
            .bulk
            .iter()
            .filter(|moved| moved.leg == leg && moved.tls == tls && moved.kind == kind);
        Spread::of(found.map(of))
    }

    fn inner_tables(&self, out: &mut String) {
        out.push_str("\n## Decisions, in-process, µs\n\n| | cold | from the cache |\n|---|---|---|\n");
        for (name, cold, cached) in &self.inner.decisions {
            let _ = writeln!(out, "| {name} | {} | {} |", cold.text(2), cached.text(3));
        }
        let _ = writeln!(
            out,
            "| pgbench select, another number each time | | {} |",
            self.inner.other_literal.text(2)
        );
        let [single, batched, verified] = self.inner.ledger.map(|rate| rate / 1e3);
        let control = &self.control;
        let _ = writeln!(
            out,
            "\n## Ledger and control plane\n\n| | |\n|---|---|\n| ledger append, one `write` per record | {single:.0}k records/s |\n\
             | ledger append, 64 records per `write` | {batched:.0}k records/s |\n| ledger verify | {verified:.0}k records/s |\n\
             | one `fdatasync` beside the ledger, p50 / p99 | {:.2} / {:.2} ms |\n| grant minted, one caller, p50 / p99 | {:.2} / {:.2} ms |\n\
             | grant minted, eight callers, p50 / p99 | {:.2} / {:.2} ms |\n| grants per second, eight callers | {:.0} |\n\
             | revoke → client cut, p50 / p99 | {:.1} / {:.1} ms |",
            control.fdatasync[0],
            control.fdatasync[1],
            control.mint[0],
            control.mint[1],
            control.crowded[0],
            control.crowded[1],
            control.rate,
            control.cut[0],
            control.cut[1],
        );
    }

    fn growth_tables(&self, out: &mut String) {
        out.push_str(
            "\n## How cost grows\n\nIdle memory, KiB per session:\n\n| sessions | proxy | KiB |\n|---|---|---|\n",
        );
        for idle in &self.idle {
            let tls = if idle.tls { ", TLS" } else { "" };
            let _ = writeln!(
                out,
                "| {} | {}{tls} | {:.1} |",
                idle.sessions,
                idle.leg.name(),
                idle.kib
            );
        }
        out.push_str("\nOne more grant, ms, p50:\n\n| live grants | ms |\n|---|---|\n");
        for (live, ms) in &self.control.grown {
            let _ = writeln!(out, "| {live} | {ms:.2} |");
        }
        out.push_str("\nThroughput ÷ direct and CPU s/100k statements:\n\n| | PgBouncer | hoop-db |\n|---|---|---|\n");
        for cell in cells(&self.growth, false) {
            let _ = write!(out, "| {} |", cell.name());
            for leg in [Leg::PgBouncer, Leg::Hoop] {
                let tps = ratio(&self.growth, &cell, (leg, Leg::Direct), |sample| sample.tps);
                let cpu = spread(&self.growth, &cell, leg, |sample| sample.cpu);
                let _ = write!(out, " {} · CPU {} |", text(tps, 2), text(cpu, 2));
            }
            out.push('\n');
        }
    }

    /// One line per slice.
    pub fn csv(&self) -> String {
        let mut out =
            "part,repeat,leg,tls,work,tps,transactions,p50_us,p99_us,p999_us,cpu_s_per_100k,others,noisy\n".to_owned();
        for (part, samples) in [("main", &self.samples), ("growth", &self.growth)] {
            for sample in samples {
                let [p50, p99, p999] = sample.latency;
                let _ = writeln!(
                    out,
                    "{part},{},{},{},\"{}\",{:.1},{},{p50},{p99},{p999},{:.4},{:.3},{}",
                    sample.repeat,
                    sample.leg.name(),
                    sample.cell.tls,
                    sample.cell.name(),
                    sample.tps,
                    sample.transactions,
                    sample.cpu,
                    sample.others,
                    sample.noisy,
                );
            }
        }
        out.push_str("\npart,repeat,leg,tls,kind,seconds,cpu_s,noisy\n");
        for moved in &self.bulk {
            let (leg, kind) = (moved.leg.name(), moved.kind);
            let _ = writeln!(
                out,
                "bulk,{},\"{leg}\",{},{kind},{:.4},{:.2},{}",
                moved.repeat, moved.tls, moved.seconds, moved.cpu, moved.noisy
            );
        }
        out.push_str("\npart,leg,tls,sessions,kib_per_session\n");
        for idle in &self.idle {
            let _ = writeln!(
                out,
                "idle,{},{},{},{:.2}",
                idle.leg.name(),
                idle.tls,
                idle.sessions,
                idle.kib
            );
        }
        out
    }
}
