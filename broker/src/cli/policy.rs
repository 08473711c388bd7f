//! `hoop-db policy …`: checking and explaining policies without a running broker.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::out::{Out, Tone};
use super::verdict::Verdict;
use crate::base::clock::Clock;
use crate::catalog::{self, Catalogs};
use crate::claims::{self, Claims, Payload, Source};
use crate::decide::admit::{self, Refusal};
use crate::decide::explain::explain;
use crate::decide::judge;
use crate::decide::judge::Ground;
use crate::policy::Scope;
use crate::policy::compile::{self, Bounds};
use crate::policy::diagnostic::{self, Diagnostic};
use crate::policy::nearest::did_you_mean;
use crate::policy::operator::Operator;
use crate::policy::presets;
use crate::policy::set::Policies;
use crate::policy::source::{self, Budget};
use crate::sql::{self, Snapshot};
use crate::token::config::IssuerConfig;
use crate::upstream::control::Controls;

/// `hoop-db policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a repository's file; with the operator's file also against its ceiling.
    Check {
        /// The repository's file.
        #[arg(default_value = ".hoop/db-access.yaml")]
        file: PathBuf,
        /// The operator's file.
        #[arg(long, value_name = "PATH", requires = "repository")]
        operator: Option<PathBuf>,
        /// Whose ceiling to check against, as registered: issuer:id or owner/name.
        #[arg(long)]
        repository: Option<String>,
        /// How to print what is found.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Explain, line by line, why a job gets a scope or not; with --sql also what becomes of statements, and by what each
    /// masked column is replaced.
    Explain {
        /// The job.
        #[command(flatten)]
        job: JobArgs,
        /// SQL to judge, against a schema snapshot.
        #[arg(long, requires = "snapshot")]
        sql: Option<String>,
        /// A schema snapshot: what `hoop-db policy snapshot` printed.
        #[arg(long, value_name = "PATH")]
        snapshot: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the presets that `preset:` can name, or show one.
    Presets {
        /// The preset, with or without its version.
        name: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of repository files.
    Schema,
    /// Print a snapshot of a live database's schema, for `explain --sql`.
    Snapshot {
        /// The operator's file.
        #[arg(long, value_name = "PATH", default_value = "broker.yaml")]
        operator: PathBuf,
        /// The database, as the operator names it.
        #[arg(long)]
        database: String,
    },
}

/// A job and the scope it asks for, without a broker.
#[derive(Debug, clap::Args)]
pub struct JobArgs {
    /// The operator's file; its policies directory is read.
    #[arg(long, value_name = "PATH", default_value = "broker.yaml")]
    operator: PathBuf,
    /// The policies directory, when it is not the one the operator's file names.
    #[arg(long, value_name = "PATH")]
    policies: Option<PathBuf>,
    /// A JSON file with the claims of the job's token: what `hoop-db whoami --json` prints in that job.
    #[arg(long, value_name = "PATH")]
    claims: PathBuf,
    /// The scope.
    #[arg(long)]
    scope: String,
}

impl JobArgs {
    /// The scope, and whether the job would be admitted to it.
    pub fn scope(&self) -> Result<(Arc<Scope>, Result<(), Refusal>)> {
        let (claims, policies) = self.read()?;
        let (_, scope) = admit::find_scope(&claims, &self.scope, &policies).map_err(|refusal| told(&refusal))?;
        let admitted = admit::admit(&claims, &self.scope, &policies).map(|_| ());
        Ok((Arc::clone(scope), admitted))
    }

    fn read(&self) -> Result<(Claims, Policies)> {
        let claims = job_claims(&read(&self.claims)?, &self.operator)?;
        Ok((claims, load(&self.operator, self.policies.as_deref())?))
    }
}

fn told(refusal: &Refusal) -> anyhow::Error {
    anyhow::anyhow!("{refusal}; {}", refusal.fix)
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// A JSON array.
    Json,
    /// GitHub workflow commands.
    Github,
}

/// Runs `hoop-db policy …`.
pub fn run(command: PolicyCommand, out: &mut Out) -> Result<ExitCode> {
    match command {
        PolicyCommand::Check {
            file,
            operator,
            repository,
            format,
        } => check(&file, operator.as_deref().zip(repository.as_deref()), format, out),
        PolicyCommand::Explain {
            job,
            sql,
            snapshot,
            json,
        } => {
            let (claims, policies) = job.read()?;
            let sql = sql.as_deref().zip(snapshot.as_deref());
            explain_job(&claims, (&job.scope, &policies), sql, json, out)
        }
        PolicyCommand::Presets { name, json } => show_presets(name.as_deref(), json, out),
        PolicyCommand::Schema => {
            out.line(crate::policy::schema::file().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        PolicyCommand::Snapshot { operator, database } => {
            let settings = crate::server::Settings::load(&operator, Clock::system().now())?;
            let targets = crate::server::targets(&settings)?;
            let target = targets
                .get(&database)
                .with_context(|| format!("the operator's file defines no database `{database}`"))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let parts = runtime.block_on(Catalogs::new(Controls::default()).documents(target))?;
            out.line(&serde_json::to_string(&parts)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Every preset in one line each, or one as it is published.
fn show_presets(name: Option<&str>, json: bool, out: &mut Out) -> Result<ExitCode> {
    let Some(name) = name else {
        if json {
            let all: Vec<_> = presets::all().iter().map(presets::Preset::view).collect();
            out.line(&serde_json::to_string_pretty(&all)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let width = presets::all()
            .iter()
            .map(|preset| preset.to_string().len())
            .max()
            .unwrap_or(0);
        for preset in presets::all() {
            out.line(&format!("{:width$}  {}", preset.to_string(), preset.description))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(preset) = presets::find(name) else {
        let near = did_you_mean(name, presets::names(), "`hoop-db policy presets` lists them");
        bail!("unknown-preset: there is no preset `{name}`; {near}");
    };
    if json {
        out.line(&serde_json::to_string_pretty(&preset.view())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let included = preset.includes.iter().filter_map(|title| presets::find(title));
    for preset in std::iter::once(preset).chain(included) {
        out.line(&format!("# === {preset} ===\n{}", preset.text.trim_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The issuers of the operator's file; everything else in it is somebody else's to read.
#[derive(serde::Deserialize)]
struct Issuers {
    issuers: BTreeMap<String, IssuerConfig>,
}

/// The claims of a token as the broker would read them, had it verified the token.
fn job_claims(text: &str, operator: &Path) -> Result<Claims> {
    let raw: Map<String, Value> = serde_json::from_str(text).context("the claims file is not a JSON object")?;
    let file = read(operator)?;
    let name = operator.display().to_string();
    let known: Issuers = source::read_within(&file, &name, Budget::OPERATOR)
        .map_err(|found| anyhow::anyhow!("{}", diagnostic::text(&found, &file).trim_end().to_owned()))?;
    let url = raw
        .get("iss")
        .and_then(Value::as_str)
        .context("the claims have no `iss`")?;
    let (issuer, config) = known
        .issuers
        .into_iter()
        .find(|(_, config)| config.url == url)
        .with_context(|| format!("unknown-issuer: {name} has no issuer with the url {url:?}"))?;
    let issuer = config.build(&issuer)?;
    let time = |claim: &str| {
        let seconds = raw.get(claim).and_then(Value::as_i64);
        let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        time.with_context(|| format!("claim-missing: the claims have no `{claim}`"))
    };
    let source = Source {
        kind: issuer.kind,
        issuer: &issuer.name,
        url: &issuer.url,
        paths: issuer.claims.as_ref(),
        payload: Payload::new(&raw),
        jti: raw.get("jti").and_then(Value::as_str).unwrap_or_default(),
        issued_at: time("iat")?,
        expires_at: time("exp")?,
    };
    Ok(claims::provider(issuer.kind).claims(&source)?)
}

fn check(file: &Path, against: Option<(&Path, &str)>, format: Format, out: &mut Out) -> Result<ExitCode> {
    let text = read(file)?;
    let path = file.display().to_string();
    let found = match against {
        None => compile::lint(&text, &path),
        Some((operator, repository)) => {
            let operator = operator_file(operator)?;
            let registration = operator
                .repositories
                .iter()
                .find(|entry| {
                    entry.name == repository || format!("{}:{}", entry.issuer, entry.repository_id) == repository
                })
                .with_context(|| format!("the operator's file registers no repository `{repository}`"))?;
            let bounds = Bounds {
                ceiling: &registration.ceiling,
                issuers: &operator.issuers,
                databases: &operator.databases,
            };
            compile::compile(&text, &path, &bounds).diagnostics
        }
    };
    print(&found, &text, &path, format, out)?;
    let failed = diagnostic::failed(&found);
    if format == Format::Text && !failed {
        let bounded = if against.is_some() {
            "inside its ceiling"
        } else {
            "sound by itself; --operator checks its ceiling"
        };
        out.toned(Tone::Good, &format!("{path}: {bounded}"))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(found: &[Diagnostic], source: &str, path: &str, format: Format, out: &mut Out) -> Result<()> {
    let text = match format {
        Format::Text => diagnostic::text(found, source),
        Format::Json => diagnostic::json(found),
        Format::Github => diagnostic::annotations(found, path),
    };
    if !text.is_empty() {
        out.line(text.trim_end())?;
    }
    Ok(())
}

fn explain_job(
    claims: &Claims,
    (scope, policies): (&str, &Policies),
    sql: Option<(&str, &Path)>,
    json: bool,
    out: &mut Out,
) -> Result<ExitCode> {
    let explanation = match explain(claims, scope, policies) {
        Ok(explanation) => explanation,
        Err(refusal) => {
            out.error(&refusal.to_string());
            out.note(&refusal.fix);
            return Ok(ExitCode::FAILURE);
        }
    };
    let verdicts = match sql {
        Some((sql, path)) => {
            let (_, scope) = admit::find_scope(claims, scope, policies).map_err(anyhow::Error::new)?;
            verdicts(sql, &snapshot(path)?, scope)
        }
        None => Vec::new(),
    };
    if json {
        let mut whole = serde_json::to_value(&explanation)?;
        if let (Some(fields), Some(_)) = (whole.as_object_mut(), sql) {
            fields.insert("statements".to_owned(), serde_json::to_value(&verdicts)?);
        }
        out.line(&serde_json::to_string_pretty(&whole)?)?;
    } else {
        out.line(explanation.to_string().trim_end())?;
        out.line(if explanation.admitted {
            "\nadmitted"
        } else {
            "\nnot admitted"
        })?;
        for verdict in &verdicts {
            verdict.print("", out)?;
        }
    }
    let good = explanation.admitted && verdicts.iter().all(|verdict| verdict.denial.is_none());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A schema as `hoop-db policy snapshot` printed it.
pub fn snapshot(path: &Path) -> Result<Snapshot> {
    let (system, user): (String, String) =
        serde_json::from_str(&read(path)?).context("the snapshot is not one of `hoop-db policy snapshot`")?;
    catalog::read_system(&system)
        .and_then(|base| catalog::read_user(&base, &user))
        .map_err(anyhow::Error::msg)
}

fn verdicts(text: &str, snapshot: &Snapshot, scope: &Scope) -> Vec<Verdict> {
    match sql::read(text, snapshot) {
        Ok(statements) => {
            let ground = Ground::here(text, snapshot);
            let judged = statements.iter();
            judged
                .map(|statement| Verdict::of(statement, scope, &ground, (text, 0)))
                .collect()
        }
        Err(unreadable) => vec![Verdict::unreadable(judge::denied_unreadable(&unreadable, scope))],
    }
}

fn operator_file(path: &Path) -> Result<Operator> {
    let text = read(path)?;
    let name = path.display().to_string();
    match Operator::read(&text, &name) {
        Ok(operator) => Ok(operator),
        Err(found) => bail!("{}", diagnostic::text(&found, &text).trim_end().to_owned()),
    }
}

/// The operator's bounds with every repository's file compiled under them.
fn load(operator: &Path, policies: Option<&Path>) -> Result<Policies> {
    let bounds = operator_file(operator)?;
    let folder = match policies {
        Some(folder) => folder.to_owned(),
        None => crate::server::Settings::load(operator, Clock::system().now())?.policies,
    };
    Ok(Policies::load(&bounds, |file| fs::read_to_string(folder.join(file))))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
