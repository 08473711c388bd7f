//! The keys of a start-up message: an allow-list. What the broker pins is not the client's to choose, what libpq keeps
//! for itself is ignored, a setting is judged like SET, everything else is refused.

use crate::decide::judge::Ground;
use crate::decide::{Decision, Denial, judge};
use crate::policy::Scope;
use crate::sql::{Barrier, Block, Class, Effect, Names, Setting, Snapshot, Statement};
use crate::wire::answer::Complaint;
use crate::wire::startup::Startup;

/// Keys that only libpq and its kin understand. Some drivers send them to the server by mistake.
const LIBPQ_ONLY: &[&str] = &[
    "channel_binding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "passfile",
    "require_auth",
    "requirepeer",
    "service",
    "ssl",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
];

/// What a start-up message comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The client's own name for itself: recorded, never sent upstream.
    pub application: Option<String>,
    /// Settings the session upstream starts with.
    pub settings: Vec<(String, String)>,
    /// The search path it asks for, which only the schema can tell whether it may: see [`judge_path`].
    pub path: Option<String>,
}

/// Reads the keys under `scope`. The only database that may be asked for is the scope's, by the server's name for it
/// (`real_name`, what the connect string says) or by the operator's.
pub fn wishes(startup: &Startup, scope: &Scope, real_name: &str) -> Result<Wishes, Complaint> {
    let mut wishes = Wishes::default();
    for (key, value) in &startup.keys {
        match key.as_str() {
            "user" => {}
            "database" if value == real_name || *value == scope.database => {}
            "database" => {
                return Err(
                    Complaint::fatal("3D000", format!("this endpoint has no database {value:?}")).hint(format!(
                        "its only database is {real_name:?}: use the connect string as it was given"
                    )),
                );
            }
            "application_name" => wishes.application = Some(value.chars().take(64).collect()),
            "replication" => {
                if !matches!(value.as_str(), "" | "0" | "off" | "no" | "false") {
                    return Err(Complaint::fatal(
                        "0A000",
                        "an endpoint does not serve replication connections",
                    ));
                }
            }
            "options" => {
                for (name, value) in options(value)? {
                    setting(&mut wishes, scope, &name, &value)?;
                }
            }
            // Protocol options were answered by NegotiateProtocolVersion.
            key if key.starts_with("_pq_.") || LIBPQ_ONLY.contains(&key) => {}
            key => setting(&mut wishes, scope, key, value)?,
        }
    }
    Ok(wishes)
}

/// A setting given at start-up is judged exactly as `SET` would be.
fn setting(wishes: &mut Wishes, scope: &Scope, name: &str, value: &str) -> Result<(), Complaint> {
    let name = name.to_ascii_lowercase();
    if name == "search_path" {
        wishes.path = Some(value.to_owned());
        return Ok(());
    }
    as_set(&name, value, scope, &Snapshot::default())?;
    // Pinned at login to the only value the judge accepts.
    if name != "client_encoding" && name != "standard_conforming_strings" {
        wishes.settings.push((name, value.to_owned()));
    }
    Ok(())
}

/// The search path that a start-up message asks for, exactly as `SET` would be judged.
pub fn judge_path(path: &str, scope: &Scope, snapshot: &Snapshot) -> Result<(), Complaint> {
    as_set("search_path", path, scope, snapshot)
}

fn as_set(name: &str, value: &str, scope: &Scope, snapshot: &Snapshot) -> Result<(), Complaint> {
    let statement = Statement {
        class: Class::Set,
        span: 0..0,
        touches: Vec::new(),
        functions: Vec::new(),
        settings: vec![Setting {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        }],
        asks: Vec::new(),
        opaque: Vec::new(),
        effect: Effect::Read,
        barrier: Barrier::None,
        names: Names::None,
        unbounded: Vec::new(),
        block: Block::Same,
        by_owner: false,
        by_number: false,
        uncounted: None,
        copies: None,
        implied: Vec::new(),
        reaches: Vec::new(),
        sources: Vec::new(),
        direct: Vec::new(),
        renames: Vec::new(),
        leaves: Vec::new(),
        tried: Vec::new(),
        hangs: Vec::new(),
        proposed: Vec::new(),
    };
    match judge::judge(&statement, scope, &Ground::here("", snapshot)) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(denial) => Err(refused(&denial)),
    }
}

fn refused(denial: &Denial) -> Complaint {
    Complaint {
        severity: "FATAL",
        sqlstate: "42501",
        message: denial.message(),
        detail: Some(denial.detail.clone()),
        hint: Some(denial.hint.clone()),
    }
}

/// Splits `options` as the server does: words at unescaped blanks, `-c name=value` or `--name=value`.
fn options(text: &str) -> Result<Vec<(String, String)>, Complaint> {
    let refuse = || {
        Complaint::fatal(
            "22023",
            "the start-up key \"options\" holds something else than -c name=value",
        )
        .hint("pass settings as -c name=value or --name=value")
    };
    let mut pairs = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next().ok_or_else(refuse)?
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(refuse());
        };
        let (name, value) = assignment.split_once('=').ok_or_else(refuse)?;
        pairs.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(pairs)
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.get_or_insert_default().extend(letters.next()),
            letter if letter.is_ascii_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_the_server_does() {
        let pairs = options(r"-c a=1 --b-c=x\ y -cd=2").unwrap();
        let expected = [("a", "1"), ("b_c", "x y"), ("d", "2")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for bad in ["-f", "-c", "-c a", "a=1"] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }
}
