//! The same proofs against every server that is there: PostgreSQL 15 to 18, each in processes of its own with
//! `PG_BINDIR` set. The corpus and its `reach` with the proxy alone, the tests of the second enforcer, of the catalogs
//! and of the doctor, and the role layer under kills.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Aim, Report, Score};
use crate::house::root;

/// The versions that the product is for.
const VERSIONS: std::ops::RangeInclusive<u32> = 15..=18;
/// How long one proof against one server may take.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// A proof: its name, and the command line that runs it; `prove` is this program.
const PROOFS: &[(&str, &[&str])] = &[
    ("corpus", &["corpus", "tests/corpus", "--layer", "proxy"]),
    ("reach", &["corpus", "tests/corpus/reach", "--layer", "proxy"]),
    (
        "tests",
        &[
            "cargo",
            "test",
            "--quiet",
            "-p",
            "tests",
            "--test",
            "roles",
            "--test",
            "doctor",
            "--test",
            "catalog",
            "--",
            "--test-threads=2",
        ],
    ),
    ("layer", &["prove", "--only", "layer", "--scale", "0.2"]),
];

/// Runs every proof against every server and prints a table.
pub async fn versions() -> Result<Report> {
    let servers = servers();
    let mut score = Score::new(
        "versions",
        "PostgreSQL 15 to 18: corpus, reach, tests of roles, doctor and catalogs, role layer under kills",
        Aim::of(16),
        Aim::of(16),
    );
    for version in VERSIONS.filter(|version| !servers.contains_key(version)) {
        println!("  PostgreSQL {version} is not here and not proven: tests/setup.sh servers");
    }
    println!(
        "  {:<18}{}",
        "server",
        PROOFS.iter().map(|(name, _)| format!("{name:<16}")).collect::<String>()
    );
    for (full, folder) in servers.values() {
        let mut line = format!("  {full:<18}");
        for (name, command) in PROOFS {
            let began = Instant::now();
            let said = run(command, folder).await;
            let word = if said.is_ok() { "pass" } else { "FAIL" };
            line += &format!("{:<16}", format!("{word} {:.0} s", began.elapsed().as_secs_f64()));
            score.check(said.is_ok(), || {
                format!("PostgreSQL {full}, {name}: {}", said.unwrap_err())
            });
        }
        println!("{line}");
    }
    Ok(Report { scores: vec![score] })
}

/// Major version → the full one and the folder of its programs; of several the newest.
fn servers() -> BTreeMap<u32, (String, PathBuf)> {
    let mut found = BTreeMap::new();
    let folders = ["/usr/lib/postgresql".into(), root().join(".tools/servers")];
    let entries = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten();
    let chosen = std::env::var_os("PG_BINDIR").map(PathBuf::from);
    for folder in entries.flatten().map(|entry| entry.path().join("bin")).chain(chosen) {
        if let Some((major, full)) = version(&folder)
            && VERSIONS.contains(&major)
        {
            found.insert(major, (full, folder));
        }
    }
    found
}

/// What the server in `folder` says of itself: `postgres (PostgreSQL) 18.4`.
fn version(folder: &Path) -> Option<(u32, String)> {
    let output = std::process::Command::new(folder.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let full = text.split_whitespace().nth(2)?;
    Some((full.split('.').next()?.parse().ok()?, full.to_owned()))
}

async fn run(command: &[&str], folder: &Path) -> Result<()> {
    let (program, arguments) = command.split_first().context("a proof without a program")?;
    let own = std::env::current_exe()?;
    let program = match *program {
        "cargo" => std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from),
        beside => own.with_file_name(beside),
    };
    let mut child = tokio::process::Command::new(program);
    child
        .args(arguments)
        .current_dir(root())
        .env("PG_BINDIR", folder)
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, child.output())
        .await
        .context("it takes too long")??;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("FAIL") || line.contains("panicked"))
        .collect();
    bail!("{}: {}", output.status, lines.join(" | "))
}
