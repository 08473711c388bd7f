//! `hoop-db plan`: what would become of the statements in SQL files, judged offline with the code of the live broker.
//!
//! What a statement would change in the schema is taken into account for the statements after it, in the order of the
//! files, whether it would be allowed or not: one refusal should not hide the findings behind it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::out::Out;
use super::policy::{JobArgs, snapshot};
use super::verdict::{Verdict, place};
use crate::decide::judge::Ground;
use crate::decide::{Denial, judge};
use crate::policy::Scope;
use crate::policy::diagnostic::{annotation, printable};
use crate::sql::{self, Snapshot, project};

/// `hoop-db plan`.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// SQL files, in the order in which they would run.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    job: JobArgs,
    /// A schema snapshot: what `hoop-db policy snapshot` printed.
    #[arg(long, value_name = "PATH")]
    snapshot: PathBuf,
    /// How to print what is found.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// A JSON array, one object per statement.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// GitHub workflow commands.
    Github,
}

/// One statement and what would become of it.
#[derive(Debug, Serialize)]
struct Step {
    file: String,
    /// 1-based.
    line: u32,
    /// 1-based, in characters.
    column: u32,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Runs `hoop-db plan`. Fails when a statement would be denied, or the job would not be admitted at all.
pub fn run(args: &PlanArgs, out: &mut Out) -> Result<ExitCode> {
    let (scope, admitted) = args.job.scope()?;
    let mut schema = snapshot(&args.snapshot)?;
    let mut steps = Vec::new();
    for file in &args.files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        plan(&file.display().to_string(), &text, &mut schema, &scope, &mut steps);
    }
    print(&steps, args.format, out)?;
    let denied = steps.iter().filter(|step| step.verdict.denial.is_some()).count();
    if args.format == Format::Text {
        out.line(&format!(
            "{} statements: {} allowed, {denied} denied",
            steps.len(),
            steps.len() - denied
        ))?;
    }
    if let Err(refusal) = &admitted {
        out.error(&format!("this job would get no endpoint: {refusal}"));
    }
    let good = denied == 0 && admitted.is_ok();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(file: &str, text: &str, schema: &mut Snapshot, scope: &Scope, steps: &mut Vec<Step>) {
    let step = |at: usize, verdict| {
        let (line, column) = place(text, at);
        Step {
            file: file.to_owned(),
            line,
            column,
            verdict,
        }
    };
    // Where the statements stand does not depend on the schema.
    let spans: Vec<_> = match sql::read(text, schema) {
        Ok(statements) => statements.into_iter().map(|statement| statement.span).collect(),
        Err(unreadable) => {
            let denial = judge::denied_unreadable(&unreadable, scope);
            steps.push(step(0, Verdict::unreadable(denial)));
            return;
        }
    };
    for span in spans {
        let (at, one) = (span.start, text.get(span).unwrap_or_default());
        match sql::read(one, schema) {
            Ok(statements) => {
                let ground = Ground::here(one, schema);
                let verdicts = statements
                    .iter()
                    .map(|statement| Verdict::of(statement, scope, &ground, (text, at)));
                steps.extend(verdicts.map(|verdict| step(at, verdict)));
                let _read_just_now = project::apply(one, schema);
            }
            Err(unreadable) => {
                let denial = judge::denied_unreadable(&unreadable, scope);
                steps.push(step(at, Verdict::unreadable(denial)));
            }
        }
    }
}

// === printing ===

fn print(steps: &[Step], format: Format, out: &mut Out) -> Result<()> {
    match format {
        Format::Text => {
            for step in steps {
                let place = format!("{}:{}: ", printable(&step.file), step.line);
                step.verdict.print(&place, out)?;
            }
        }
        Format::Json => out.line(&serde_json::to_string_pretty(steps)?)?,
        Format::Sarif => out.line(&serde_json::to_string_pretty(&sarif(steps))?)?,
        Format::Github => {
            for (step, denial) in refused(steps) {
                let message = format!("{}: {}. {}", denial.message(), denial.detail, denial.hint);
                out.line(&annotation(
                    "error",
                    &step.file,
                    step.line,
                    step.column,
                    denial.code,
                    &message,
                ))?;
            }
        }
    }
    Ok(())
}

fn refused(steps: &[Step]) -> impl Iterator<Item = (&Step, &Denial)> {
    steps
        .iter()
        .filter_map(|step| Some((step, step.verdict.denial.as_ref()?)))
}

/// The standard's smallest document: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>.
fn sarif(steps: &[Step]) -> Value {
    let codes: BTreeSet<&str> = refused(steps).map(|(_, denial)| denial.code).collect();
    let rules: Vec<Value> = codes.iter().map(|code| json!({ "id": code })).collect();
    let results: Vec<Value> = refused(steps)
        .map(|(step, denial)| {
            let message = format!("{}: {}. {}", denial.message(), denial.detail, denial.hint);
            json!({
                "ruleId": denial.code,
                "level": "error",
                "message": { "text": message },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": step.file },
                    "region": { "startLine": step.line, "startColumn": step.column },
                } }],
            })
        })
        .collect();
    json!({
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "hoop-db plan", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}
