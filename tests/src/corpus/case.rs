//! A directory of the corpus' form: `attacks.jsonl`, `fixture.sql`, and the policy in the product's own format.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::house::root;

/// What has to become of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Refused, or without effect.
    Deny,
    /// Answers, with masked values: nothing of what is masked is in any byte. Where the policy masks nothing, refused.
    Mask,
    /// Works.
    Allow,
    /// Refused, or reaches the server byte by byte and does what it does without a broker.
    Intact,
}

/// One line of `attacks.jsonl`.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub id: String,
    /// What it belongs to.
    pub group: String,
    /// What it tries.
    pub why: String,
    /// What has to become of it.
    pub expect: Expect,
    /// SQL that a superuser runs first.
    pub setup: Option<String>,
    /// What the job sends.
    pub sql: String,
    /// The data of a COPY … FROM STDIN.
    pub copy_in: Option<String>,
    /// SQL of a superuser; `t` means that the attack worked.
    pub check: Option<String>,
    /// A regular expression over what the job received, or `NOERR`, `SLOW`, `NEVER`.
    pub marker: Option<String>,
    /// A case of the wire, by name.
    pub proto: Option<String>,
    /// A case of the wire, message by message ([`super::steps`]).
    pub steps: Option<Vec<Vec<String>>>,
    /// The first major version whose grammar or catalogs have it.
    pub min_pg: Option<u64>,
}

/// All cases, and what they are tried with.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// The cases in file order.
    pub cases: Vec<Case>,
    /// The schema and the rows.
    pub fixture: String,
    /// The repository's policy file, with one scope `job` on the database `corpus`.
    pub policy: String,
    /// The operator's ceiling for the database `corpus`.
    pub ceiling: String,
}

impl Corpus {
    /// The corpus of this repository.
    pub fn own() -> Result<Self> {
        Self::read(&root().join("tests/corpus"))
    }

    /// Reads `folder`. A fixture, a policy or a ceiling that is not there is this repository's own.
    pub fn read(folder: &Path) -> Result<Self> {
        let own = root().join("tests/corpus");
        let text = |name: &str| {
            let path = folder.join(name);
            let path = if path.exists() { path } else { own.join(name) };
            fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let attacks = folder.join("attacks.jsonl");
        let lines = fs::read_to_string(&attacks).with_context(|| format!("{} cannot be read", attacks.display()))?;
        let cases: Result<Vec<Case>> = lines
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(at, line)| Case::parse(line).with_context(|| format!("{}:{}", attacks.display(), at + 1)))
            .collect();
        Ok(Self {
            cases: cases?,
            fixture: text("fixture.sql")?,
            policy: text("policy.yaml")?,
            ceiling: text("ceiling.yaml")?,
        })
    }
}

impl Case {
    fn parse(line: &str) -> Result<Self> {
        let row: Value = serde_json::from_str(line)?;
        let text = |name: &str| row[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let expect = match row["expect"].as_str() {
            Some("deny") => Expect::Deny,
            Some("mask") => Expect::Mask,
            Some("allow") => Expect::Allow,
            Some("allow-intact") => Expect::Intact,
            other => bail!("expect: {other:?}"),
        };
        Ok(Self {
            id: text("id").context("no id")?,
            group: text("group").unwrap_or_default(),
            why: text("why").unwrap_or_default(),
            expect,
            setup: text("setup"),
            sql: text("sql").unwrap_or_default(),
            copy_in: text("copy_in"),
            check: text("check"),
            marker: text("marker"),
            proto: text("proto"),
            steps: match &row["steps"] {
                Value::Null => None,
                steps => Some(serde_json::from_value(steps.clone()).context("steps: a list of lists of words")?),
            },
            min_pg: row["min_pg"].as_u64(),
        })
    }

    /// True when it must not work.
    pub fn is_attack(&self) -> bool {
        matches!(self.expect, Expect::Deny | Expect::Mask)
    }
}
