//! `hoop-db doctor` and `hoop-db roles`: what an operator should know about a database before jobs reach it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::out::{Out, Tone};
use crate::base::clock::Clock;
use crate::policy::Enforcement;
use crate::role::{self, Lack};
use crate::survey::{self, Exposure, Login};
use crate::upstream::Target;
use crate::upstream::control::Controls;

/// Which databases to look at.
#[derive(Debug, clap::Args)]
pub struct LookArgs {
    /// The operator's file.
    #[arg(long, env = "HOOP_CONFIG", value_name = "PATH", default_value = "broker.yaml")]
    operator: PathBuf,
    /// One database, as the operator names it; all of them without it.
    #[arg(long)]
    database: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl LookArgs {
    fn targets(&self) -> Result<Vec<Arc<Target>>> {
        Ok(self.with_enforcers()?.into_iter().map(|(target, _)| target).collect())
    }

    /// The databases, each with who enforces policies there.
    fn with_enforcers(&self) -> Result<Vec<(Arc<Target>, Enforcement)>> {
        let settings = crate::server::Settings::load(&self.operator, Clock::system().now())?;
        let enforcer = |target: Arc<Target>| {
            let database = settings.databases.get(&target.name);
            let enforcement = database.map_or(Enforcement::Shared, |database| database.enforcement);
            (target, enforcement)
        };
        let mut targets = crate::server::targets(&settings)?;
        if let Some(name) = &self.database {
            let target = targets.remove(name);
            let target = target.with_context(|| format!("the operator's file defines no database `{name}`"))?;
            return Ok(vec![enforcer(target)]);
        }
        let mut all: Vec<_> = targets.into_values().map(enforcer).collect();
        all.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
        Ok(all)
    }
}

/// Prints what each database exposes, with the SQL that cures it. Fails when there is anything but notes.
pub async fn doctor(args: LookArgs, out: &mut Out) -> Result<ExitCode> {
    let controls = Controls::default();
    let mut all = serde_json::Map::new();
    let mut count = 0;
    let masked = crate::server::masked(&args.operator, &Clock::system())?;
    for (target, enforcement) in args.with_enforcers()? {
        let mut found = survey::exposures(&controls, &target).await?;
        if enforcement == Enforcement::Role {
            found.extend(lacking(&controls, &target, masked.contains(&target.name)).await?);
        }
        found.retain(|exposure| enforcement == Enforcement::Shared || !exposure.is_invoker());
        count += found.iter().filter(|exposure| !exposure.is_invoker()).count();
        if args.json {
            all.insert(target.name.clone(), serde_json::to_value(&found)?);
        } else {
            report(&target.name, &found, out)?;
        }
    }
    if args.json {
        out.line(&serde_json::to_string_pretty(&all)?)?;
    }
    Ok(if count == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the broker's login needs to enforce policies, and does not have.
async fn lacking(controls: &Controls, target: &Arc<Target>, masks: bool) -> Result<Vec<Exposure>> {
    let lacks = role::lacks(controls, target, masks).await?;
    let told = lacks.into_iter().map(|Lack { what, sql }| Exposure {
        kind: "login-lacks".to_owned(),
        schema: None,
        name: what,
        on: None,
        owner: None,
        fix: sql,
    });
    Ok(told.collect())
}

fn report(database: &str, found: &[Exposure], out: &mut Out) -> Result<()> {
    if found.is_empty() {
        out.toned(Tone::Good, &format!("{database}: nothing to mend"))?;
        return Ok(());
    }
    let (notes, faults): (Vec<&Exposure>, Vec<&Exposure>) = found.iter().partition(|exposure| exposure.is_invoker());
    if faults.is_empty() {
        out.toned(Tone::Good, &format!("{database}: nothing to mend"))?;
    } else {
        out.toned(Tone::Head, &format!("{database}: {} findings", faults.len()))?;
    }
    if !notes.is_empty() {
        out.toned(
            Tone::Faint,
            &format!(
                "  {} to look at; with `enforcement: role` they run with the rights of the scope",
                notes.len()
            ),
        )?;
    }
    for exposure in notes {
        out.toned(Tone::Faint, &format!("  {}", exposure.told()))?;
    }
    for exposure in faults {
        out.toned(Tone::Refused, &format!("  {}", exposure.told()))?;
        out.line(&format!("      {}", exposure.fix))?;
    }
    Ok(())
}

/// Prints every login of each database and how far its password would reach.
pub async fn roles(args: LookArgs, out: &mut Out) -> Result<ExitCode> {
    let controls = Controls::default();
    let mut all = serde_json::Map::new();
    for target in args.targets()? {
        let reach = survey::logins(&controls, &target).await?;
        if args.json {
            all.insert(target.name.clone(), serde_json::to_value(&reach)?);
            continue;
        }
        out.toned(
            Tone::Head,
            &format!(
                "{}: {} logins, {} tables",
                target.name,
                reach.logins.len(),
                reach.tables
            ),
        )?;
        for login in &reach.logins {
            login_lines(login, reach.tables, out)?;
        }
    }
    if args.json {
        out.line(&serde_json::to_string_pretty(&all)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn login_lines(login: &Login, tables: u64, out: &mut Out) -> Result<()> {
    let powers = [
        (login.superuser, "superuser"),
        (login.creates_roles, "creates roles"),
        (login.creates_databases, "creates databases"),
        (login.bypasses_row_security, "bypasses row security"),
        (login.replicates, "replicates"),
        (!login.connects, "cannot connect here"),
    ];
    let mut words: Vec<String> = powers
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| word.to_owned())
        .collect();
    words.push(match &login.valid_until {
        Some(end) => format!("password until {end}"),
        None => "password never expires".to_owned(),
    });
    let wide = login.superuser || (tables > 0 && login.changes == tables);
    let tone = if wide { Tone::Bad } else { Tone::Faint };
    out.toned(tone, &format!("  {}: {}", login.name, words.join(", ")))?;
    out.line(&format!(
        "      of {tables} tables reads {}, changes {}, empties {}, drops {}",
        login.reads, login.changes, login.empties, login.drops
    ))?;
    for way in &login.member_of {
        let how = if way.inherits { "has its rights" } else { "by SET ROLE" };
        let danger = if way.superuser { ", a superuser" } else { "" };
        out.line(&format!("      in {} ({how}{danger})", way.path.join(" > ")))?;
    }
    Ok(())
}
