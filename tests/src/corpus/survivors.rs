//! What PostgreSQL's roles alone do not stop: every such attack with the sentence that explains it, as a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::report::{LEAKED, Line, Outcome, Report};

/// One line of `survivors.jsonl`: why an attack works when only roles are in its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// The case.
    pub id: String,
    /// It brings or changes data that the policy does not give.
    pub data: bool,
    /// What `hoop-db doctor` prints ends it.
    pub doctor: bool,
    /// Why PostgreSQL alone does not stop it.
    pub why: String,
}

/// The explanations of a corpus.
pub fn explained(folder: &Path) -> Result<Vec<Survivor>> {
    let path = folder.join("survivors.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines()
        .map(|line| survivor(line).with_context(|| format!("{}: {line}", path.display())))
        .collect()
}

fn survivor(line: &str) -> Result<Survivor> {
    let row: Value = serde_json::from_str(line)?;
    let text = |name: &str| {
        row[name]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no {name}"))
    };
    let flag = |name: &str| row[name].as_bool().with_context(|| format!("no {name}"));
    Ok(Survivor {
        id: text("id")?,
        data: flag("data")?,
        doctor: flag("doctor")?,
        why: text("why")?,
    })
}

/// What is wrong with the explanations: each names an attack that works, and each attack that works has one.
pub fn unexplained(report: &Report, known: &[Survivor]) -> Vec<String> {
    let worked: BTreeMap<&str, &Line> = report.failures().map(|line| (line.id.as_str(), line)).collect();
    let mut wrong: Vec<String> = known
        .iter()
        .filter(|known| !worked.contains_key(known.id.as_str()))
        .map(|known| format!("{}: explained, and does not work", known.id))
        .collect();
    for (id, line) in worked {
        let Outcome::Failed(reason) = &line.outcome else {
            continue;
        };
        match known.iter().find(|known| known.id == id) {
            _ if !line.attack => wrong.push(format!("{id}: honest, and does not work: {reason}")),
            None => wrong.push(format!("{id}: works, and nobody explains it: {reason}")),
            Some(known) if reason.contains(LEAKED) && !known.data => {
                wrong.push(format!("{id}: brings a secret, and is not said to be data"));
            }
            Some(_) => {}
        }
    }
    wrong
}

/// The table of one corpus.
pub fn table(title: &str, report: &Report, known: &[Survivor]) -> String {
    let mut out = format!(
        "## {title}\n\n| group | attacks | work | of them data | of them data after `hoop-db doctor` |\n|---|---|---|---|---|\n"
    );
    let mut groups: Vec<&str> = report.lines.iter().map(|line| line.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups.into_iter().map(Some).chain([None]) {
        let lines = || {
            report
                .lines
                .iter()
                .filter(move |line| line.attack && group.is_none_or(|group| line.group == group))
        };
        let mine: Vec<&Survivor> = known
            .iter()
            .filter(|known| lines().any(|line| line.id == known.id))
            .collect();
        if lines().next().is_none() {
            continue;
        }
        let data = mine.iter().filter(|known| known.data).count();
        let left = mine.iter().filter(|known| known.data && !known.doctor).count();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {data} | {left} |",
            group.unwrap_or("**all**"),
            lines().count(),
            mine.len()
        );
    }
    out += "\n| case | what it tries | data | why roles alone do not stop it |\n|---|---|---|---|\n";
    for line in report.lines.iter().filter(|line| line.attack) {
        if let Some(known) = known.iter().find(|known| known.id == line.id) {
            let data = match (known.data, known.doctor) {
                (false, _) => "no",
                (true, true) => "until `doctor`",
                (true, false) => "yes",
            };
            let _ = writeln!(
                out,
                "| {} | {} | {data} | {} |",
                line.id,
                line.why.replace('|', "\\|"),
                known.why
            );
        }
    }
    out
}
