//! The operator's file, `broker.yaml`, as far as it bounds policies: issuers and databases by name, `repositories:`,
//! `ceilings:`. Listeners, keys and addresses are read by the house.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ceiling::Ceiling;
use super::diagnostic::{Diagnostic, Report, Span, code};
use super::nearest::did_you_mean;
use super::node::{Fields, Key, Node, Value, Word, not_yet_enforced};
use super::source::{self, Budget};
use super::{Enforcement, Kept, Origin};

/// The keys of one entry of `repositories:`.
pub const REPOSITORY_KEYS: &[&str] = &["id", "name", "policy", "file", "ceiling"];
/// Keys of an entry of `repositories:` whose enforcement is not built.
pub const REPOSITORY_UNBUILT: &[&str] = &["policy-from"];
/// Top-level keys of the file whose enforcement is not built.
pub const TOP_UNBUILT: &[&str] = &["approvers", "presets"];

/// Keys whose value is a secret, in whatever section they stand.
pub const SECRET_KEYS: &[&str] = &["operator-token", "password", "secret", "token"];

/// What kind of CI an issuer is: the word under `kind:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssuerKind {
    /// Any other OIDC issuer.
    Generic,
    /// GitHub Actions.
    GithubActions,
    /// GitLab CI/CD.
    Gitlab,
}

impl IssuerKind {
    /// Every kind with its word.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("generic", Self::Generic),
        ("github-actions", Self::GithubActions),
        ("gitlab", Self::Gitlab),
    ];
}

/// What the operator's file says about policies.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The file, as diagnostics name it.
    pub path: Arc<str>,
    /// The issuers by their names.
    pub issuers: BTreeMap<String, IssuerKind>,
    /// The databases by their names, and who enforces policies there.
    pub databases: BTreeMap<String, Kept>,
    /// The registered repositories.
    pub repositories: Vec<Registration>,
    /// The ceilings by their names.
    pub ceilings: BTreeMap<String, Arc<Ceiling>>,
}

/// One entry of `repositories:`.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where the entry begins.
    pub origin: Origin,
    /// The issuer's name: identity is `(issuer, id)`.
    pub issuer: String,
    /// The immutable id.
    pub repository_id: String,
    /// Display text.
    pub name: String,
    /// Its policy file, relative to the policies' directory.
    pub file: String,
    /// What bounds it.
    pub ceiling: Arc<Ceiling>,
}

impl Operator {
    /// Reads the four sections out of the whole file; every other key is the house's to check.
    pub fn read(text: &str, path: &str) -> Result<Self, Vec<Diagnostic>> {
        let root: Node = source::read_within(text, path, Budget::OPERATOR)?;
        Self::from_node(&root, path)
    }

    /// [`Operator::read`] of a file that is already a [`Node`].
    pub fn from_node(root: &Node, path: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut report = Report::new(&Arc::from(path));
        let operator = Self::lower(root, &mut report);
        match operator {
            Some(operator) if !report.failed() => Ok(operator),
            _ => Err(report.finish()),
        }
    }

    fn lower(root: &Node, report: &mut Report) -> Option<Self> {
        let entries = root.map("the file", report)?;
        for (key, _) in entries {
            if TOP_UNBUILT.contains(&key.text.as_str()) {
                not_yet_enforced(&key.text, key.span, report);
            }
        }
        literal_secrets(root, report);
        let mut section = |name: &str| {
            let found = entries.iter().find(|(key, _)| key.text == name);
            if found.is_none() {
                report.error(
                    code::MISSING_KEY,
                    Span::START,
                    format!("the file needs the key `{name}`"),
                    "",
                );
            }
            found.map(|(_, node)| node)
        };
        let (issuers, databases) = (section("issuers"), section("databases"));
        let (repositories, ceilings) = (section("repositories"), section("ceilings"));
        let issuers = read_issuers(issuers?, report);
        let databases = read_databases(databases?, report);
        let ceilings = read_ceilings(ceilings?, &databases, report);
        let mut operator = Self {
            path: Arc::clone(report.path()),
            issuers,
            databases,
            repositories: Vec::new(),
            ceilings,
        };
        operator.repositories = operator.registrations(repositories?, report);
        Some(operator)
    }

    fn registrations(&self, node: &Node, report: &mut Report) -> Vec<Registration> {
        let mut seen = BTreeSet::new();
        let mut read = Vec::new();
        for entry in node.list("`repositories`", report).unwrap_or_default() {
            let Some(registration) = self.registration(entry, report) else {
                continue;
            };
            if !seen.insert((registration.issuer.clone(), registration.repository_id.clone())) {
                let message = format!(
                    "`{}:{}` is registered twice",
                    registration.issuer, registration.repository_id
                );
                report.error(code::DUPLICATE_KEY, entry.span, message, "keep one of them");
            }
            read.push(registration);
        }
        read
    }

    fn registration(&self, node: &Node, report: &mut Report) -> Option<Registration> {
        let what = "an entry of `repositories`";
        let fields = node.fields(what, REPOSITORY_KEYS, REPOSITORY_UNBUILT, report)?;
        check_policy_way(fields, report);
        let id = fields.required("id", what, report)?.word("`id`", report)?;
        let name = fields.required("name", what, report)?.word("`name`", report)?;
        let ceiling = fields.required("ceiling", what, report)?.word("`ceiling`", report)?;
        let (issuer, repository_id) = self.identity(id, report)?;
        let file = match fields.value("file") {
            Some(node) => node.word("`file`", report)?,
            None => name,
        };
        if !stays_inside(file.text) {
            let message = format!("`{}` does not stay inside the policies' directory", file.text);
            report.error(
                code::INVALID_VALUE,
                file.span,
                message,
                "write a plain relative path, without `..`",
            );
            return None;
        }
        let file = match fields.value("file") {
            Some(_) => file.text.to_owned(),
            None => format!("{}/db-access.yaml", name.text),
        };
        let Some(ceiling) = self.ceilings.get(ceiling.text) else {
            let known = self.ceilings.keys().map(String::as_str);
            let message = format!("there is no ceiling `{}`", ceiling.text);
            // A ceiling that failed to read is missing here too; its own error says more.
            report.error(
                code::INVALID_VALUE,
                ceiling.span,
                message,
                did_you_mean(ceiling.text, known, ""),
            );
            return None;
        };
        Some(Registration {
            origin: fields.span().origin(report.path()),
            issuer: issuer.to_owned(),
            repository_id: repository_id.to_owned(),
            name: name.text.to_owned(),
            file,
            ceiling: Arc::clone(ceiling),
        })
    }

    /// `github:260064828`. A name in place of the number would follow whoever takes the name next.
    fn identity<'n>(&self, id: Word<'n>, report: &mut Report) -> Option<(&'n str, &'n str)> {
        let Some((issuer, repository_id)) = id.text.split_once(':') else {
            let message = format!("`{}` is not of the form <issuer>:<id>", id.text);
            report.error(code::INVALID_VALUE, id.span, message, "github:260064828");
            return None;
        };
        let Some(kind) = self.issuers.get(issuer) else {
            unknown_issuer(issuer, id.span, &self.issuers, report);
            return None;
        };
        let numeric = repository_id.bytes().all(|byte| byte.is_ascii_digit());
        if repository_id.trim().is_empty() || (*kind != IssuerKind::Generic && !numeric) {
            let message = format!("`{repository_id}` is not an immutable id");
            let help = "use the number the CI gives the repository; a name can change hands";
            report.error(code::INVALID_VALUE, id.span, message, help);
            return None;
        }
        Some((issuer, repository_id))
    }
}

/// Reports an issuer that the operator did not define.
pub fn unknown_issuer(name: &str, span: Span, issuers: &BTreeMap<String, IssuerKind>, report: &mut Report) {
    let known = || issuers.keys().map(String::as_str);
    let all: Vec<_> = known().collect();
    let help = did_you_mean(name, known(), &format!("the operator defines: {}", all.join(", ")));
    let message = format!("the operator defines no issuer `{name}`");
    report.error(code::UNKNOWN_ISSUER_IN_POLICY, span, message, help);
}

/// A secret is named by a reference (`env:NAME`, `file:/path`), never written out. A literal is reported without being
/// repeated.
pub fn secret_reference<'n>(word: Word<'n>, what: &str, report: &mut Report) -> Option<SecretReference<'n>> {
    if let Some(name) = word.text.strip_prefix("env:")
        && is_variable(name)
    {
        return Some(SecretReference::Environment(name));
    }
    if let Some(path) = word.text.strip_prefix("file:")
        && path.starts_with('/')
    {
        return Some(SecretReference::File(path));
    }
    if word.text.starts_with("vault:") {
        not_yet_enforced("vault:", word.span, report);
        return None;
    }
    let help = "refer to it: env:NAME of an environment variable, or file:/absolute/path";
    report.error(
        code::LITERAL_SECRET,
        word.span,
        format!("{what} is not a reference to a secret"),
        help,
    );
    None
}

/// Looks for literals under every key that holds a secret, wherever it stands in the file.
fn literal_secrets(node: &Node, report: &mut Report) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| literal_secrets(node, report)),
        Value::Map(entries) => {
            for (key, node) in entries {
                if SECRET_KEYS.contains(&key.text.as_str())
                    && let Some(word) = node.word(&format!("`{}`", key.text), report)
                {
                    secret_reference(word, &format!("`{}`", key.text), report);
                }
                literal_secrets(node, report);
            }
        }
        Value::Flag(_) | Value::Nothing | Value::Number(_) | Value::Real(_) | Value::Text(_) => {}
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretReference<'n> {
    /// The environment variable of this name.
    Environment(&'n str),
    /// The file at this absolute path.
    File(&'n str),
}

fn is_variable(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(fine)
}

fn check_policy_way(fields: Fields<'_>, report: &mut Report) {
    let Some(word) = fields.value("policy").and_then(|node| node.word("`policy`", report)) else {
        return;
    };
    match word.text {
        "directory" => {}
        "push" | "pull" => not_yet_enforced(&format!("policy: {}", word.text), word.span, report),
        other => {
            let message = format!("`{other}` is not a way a policy reaches the broker");
            report.error(code::INVALID_VALUE, word.span, message, "policy: directory");
        }
    }
}

fn read_issuers(node: &Node, report: &mut Report) -> BTreeMap<String, IssuerKind> {
    let mut issuers = BTreeMap::new();
    for (key, node) in node.map("`issuers`", report).unwrap_or_default() {
        if key.text.contains(':') || key.text.is_empty() {
            let message = format!("`{}` cannot name an issuer", key.text);
            report.error(code::INVALID_VALUE, key.span, message, "names have no `:`");
        }
        let what = format!("issuer `{}`", key.text);
        let Some(kind) = plain_value(node, "kind", &what, report) else {
            continue;
        };
        if let Some((_, kind)) = IssuerKind::ALL.iter().find(|(word, _)| *word == kind.text) {
            issuers.insert(key.text.clone(), *kind);
            continue;
        }
        let words: Vec<_> = IssuerKind::ALL.iter().map(|(word, _)| *word).collect();
        let help = did_you_mean(
            kind.text,
            words.iter().copied(),
            &format!("one of: {}", words.join(", ")),
        );
        let message = format!("`{}` is not a kind of issuer", kind.text);
        report.error(code::INVALID_VALUE, kind.span, message, help);
    }
    issuers
}

/// The value of `key` in a mapping whose other keys are somebody else's to check.
fn plain_value<'n>(node: &'n Node, key: &str, what: &str, report: &mut Report) -> Option<Word<'n>> {
    let entries = node.map(what, report)?;
    let Some((_, value)) = entries.iter().find(|(candidate, _)| candidate.text == key) else {
        report.error(
            code::MISSING_KEY,
            node.span,
            format!("{what} needs the key `{key}`"),
            "",
        );
        return None;
    };
    value.word(&format!("`{key}`"), report)
}

fn read_databases(node: &Node, report: &mut Report) -> BTreeMap<String, Kept> {
    let mut databases = BTreeMap::new();
    for (key, node) in node.map("`databases`", report).unwrap_or_default() {
        let mut kept = Kept::default();
        let entries = node
            .map(&format!("database `{}`", key.text), report)
            .unwrap_or_default();
        let enforcement = entries.iter().find(|(key, _)| key.text == "enforcement");
        if let Some(word) = enforcement.and_then(|(_, node)| node.word("`enforcement`", report)) {
            match word.text {
                "shared" => {}
                "role" => kept.enforcement = Enforcement::Role,
                other => {
                    let message = format!("`{other}` is not a kind of enforcement");
                    report.error(
                        code::INVALID_VALUE,
                        word.span,
                        message,
                        "enforcement: role, or enforcement: shared",
                    );
                }
            }
        }
        kept.mask_key = entries.iter().any(|(key, _)| key.text == "mask-key");
        databases.insert(key.text.clone(), kept);
    }
    databases
}

fn read_ceilings(
    node: &Node,
    databases: &BTreeMap<String, Kept>,
    report: &mut Report,
) -> BTreeMap<String, Arc<Ceiling>> {
    let entries: &[(Key, Node)] = node.map("`ceilings`", report).unwrap_or_default();
    entries
        .iter()
        .filter_map(|(key, node)| {
            let ceiling = Ceiling::read(key, node, databases, report)?;
            Some((key.text.clone(), Arc::new(ceiling)))
        })
        .collect()
}

/// A relative path of plain segments.
fn stays_inside(path: &str) -> bool {
    !path.contains(['\\', '\0'])
        && path
            .split('/')
            .all(|segment| !segment.is_empty() && segment != "." && segment != "..")
}
