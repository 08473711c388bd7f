//! The run-time settings a job may change or read, and within which bounds.

use std::time::Duration;

/// Which kinds of relations a session does not read unless they are PostgreSQL's own.
pub const KINDS: &str = "restrict_nonsystem_relation_kind";

/// The largest `work_mem`, in kilobytes.
const WORK_MEM_KB: u64 = 256 * 1024;

/// What a setting may be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Anything: PostgreSQL checks it, and nothing depends on it.
    Any,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// A name of UTF-8 as PostgreSQL reads it: only letters and digits count, in any case. asyncpg sends quotes as well.
    Utf8,
    /// A size up to [`WORK_MEM_KB`].
    Memory,
    /// A time above zero (zero would switch the timeout off), up to the scope's own limit where it has one.
    Timeout,
    /// A time; the scope's own limit, where it has one, cannot be raised.
    Limited,
}

/// The bound of a setting that may be changed; `None` when it may not.
pub fn bound(name: &str) -> Option<Bound> {
    Some(match name {
        // Who the job is stands in the ledger, with the server's own process id.
        "application_name"
        | "bytea_output"
        | "datestyle"
        | "default_transaction_deferrable"
        | "default_transaction_isolation"
        | "extra_float_digits"
        | "intervalstyle"
        | "plan_cache_mode"
        | "synchronize_seqscans"
        | "timezone"
        | "transaction_deferrable"
        | "transaction_isolation"
        | "xmloption" => Bound::Any,
        // Under `read-only` only those that keep it on are allowed.
        "transaction_read_only" => Bound::OneOf(&["on", "true", "yes", "1", "off", "false", "no", "0"]),
        // Below NOTICE the server shows what it does inside, trees and plans of other statements' functions included.
        "client_min_messages" => Bound::OneOf(&["notice", "warning", "error", "log"]),
        // What a crash may lose with `off` is the job's own work; nobody else waits or reads anything else for it.
        "synchronous_commit" => Bound::OneOf(&[
            "on",
            "true",
            "yes",
            "1",
            "off",
            "false",
            "no",
            "0",
            "local",
            "remote_write",
            "remote_apply",
        ]),
        "client_encoding" => Bound::Utf8,
        "default_transaction_read_only" | "standard_conforming_strings" => Bound::OneOf(&["on", "true", "yes", "1"]),
        "idle_in_transaction_session_timeout" | "idle_session_timeout" | "transaction_timeout" => Bound::Timeout,
        "statement_timeout" | "lock_timeout" => Bound::Limited,
        "work_mem" => Bound::Memory,
        // Planner switches.
        name if name.contains('.') => return None,
        name if name.starts_with("enable_") || name == "jit" || name.starts_with("jit_") && name.ends_with("_cost") => {
            Bound::Any
        }
        _ => return None,
    })
}

/// Settings that may be read besides those that may be changed.
const READABLE: &[&str] = &[
    "block_size",
    "constraint_exclusion",
    "default_table_access_method",
    "default_tablespace",
    // Another vendor's; Liquibase looks for it to know whose server this is.
    "edb_redwood_date",
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "max_identifier_length",
    "max_index_keys",
    "role",
    "row_security",
    "search_path",
    "server_encoding",
    "server_version",
    "server_version_num",
    "session_authorization",
];

/// True when a setting may be read.
pub fn readable(name: &str) -> bool {
    READABLE.contains(&name) || bound(name).is_some()
}

/// A list of names as PostgreSQL reads it in `search_path` (split by `,`) or in a relation's text (split by `.`):
/// folded to lower case unless quoted. `None` when it is not one.
pub fn names(text: &str, separator: char) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let name = if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut letters = quoted.char_indices();
            loop {
                let (at, letter) = letters.next()?;
                if letter != '"' {
                    name.push(letter);
                    continue;
                }
                rest = quoted.get(at + 1..)?;
                match rest.strip_prefix('"') {
                    Some(_) => {
                        letters.next();
                        name.push('"');
                    }
                    None => break,
                }
            }
            name
        } else {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$');
            let end = rest.find(|letter| !plain(letter)).unwrap_or(rest.len());
            let (name, after) = rest.split_at_checked(end)?;
            if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit() || letter == '$') {
                return None;
            }
            rest = after;
            name.to_ascii_lowercase()
        };
        names.push(name);
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(separator)?.trim_start();
    }
}

/// A time as PostgreSQL reads it: a number of milliseconds, or a number with a unit.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let micros = match unit {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

/// A size as PostgreSQL reads it, in kilobytes: a number of kilobytes, or a number with a unit.
fn kilobytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    match unit {
        "" | "kB" => Some(number),
        "MB" => number.checked_mul(1024),
        "GB" => number.checked_mul(1024 * 1024),
        _ => None,
    }
}

/// Whole numbers only: PostgreSQL also reads fractions, octal and hexadecimal, which nobody needs here.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    if number.len() > 1 && number.starts_with('0') {
        return None;
    }
    Some((number.parse().ok()?, unit.trim_start()))
}

impl Bound {
    /// True when `value` lies within. `limit` is the scope's own limit on this setting.
    pub fn admits(self, value: &str, limit: Option<Duration>) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Self::Utf8 => {
                let name: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
                ["utf8", "unicode"].iter().any(|word| word.eq_ignore_ascii_case(&name))
            }
            Self::Memory => kilobytes(value).is_some_and(|size| size <= WORK_MEM_KB),
            Self::Limited if limit.is_none() => true,
            Self::Timeout | Self::Limited => {
                duration(value).is_some_and(|time| !time.is_zero() && limit.is_none_or(|limit| time <= limit))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_postgresql_reads_them() {
        assert_eq!(duration("5000"), Some(Duration::from_secs(5)));
        assert_eq!(duration(" 5 s "), Some(Duration::from_secs(5)));
        assert_eq!(duration("2min"), Some(Duration::from_secs(120)));
        for odd in [
            "",
            "s",
            "-1",
            "5x",
            "0x10",
            "010",
            "1e3",
            "1.5s",
            "99999999999999999999",
        ] {
            assert_eq!(duration(odd), None, "{odd}");
        }
        assert_eq!(kilobytes("64MB"), Some(65_536));
        assert_eq!(kilobytes("1TB"), None);
    }

    #[test]
    fn lists_of_names_are_read_as_postgresql_reads_them() {
        let list = |text| names(text, ',');
        assert_eq!(list(""), Some(Vec::new()));
        assert_eq!(list("app, PUBLIC"), Some(vec!["app".to_owned(), "public".to_owned()]));
        assert_eq!(
            list("\"$user\", \"A\"\"b, c\""),
            Some(vec!["$user".to_owned(), "A\"b, c".to_owned()])
        );
        assert_eq!(list("\"\""), Some(vec![String::new()]));
        for odd in ["a,", ",a", "a b", "\"a", "a;b", "1a", "a.b", "é"] {
            assert_eq!(list(odd), None, "{odd}");
        }
        assert_eq!(names("app.\"T\"", '.'), Some(vec!["app".to_owned(), "T".to_owned()]));
        assert_eq!(names("16384", '.'), None);
    }

    #[test]
    fn a_scope_s_timeout_can_be_lowered_but_not_raised_or_switched_off() {
        let limit = Some(Duration::from_secs(60));
        assert!(Bound::Limited.admits("5s", limit));
        assert!(Bound::Limited.admits("60000", limit));
        for value in ["61s", "0", "2min", "1d", "x"] {
            assert!(!Bound::Limited.admits(value, limit), "{value}");
        }
        assert!(Bound::Limited.admits("0", None));
    }

    #[test]
    fn what_the_judgement_rests_on_cannot_be_set() {
        for name in [
            "all",
            "role",
            "session_authorization",
            "search_path",
            "row_security",
            "session_replication_role",
            "standard_conforming_strings_x",
            "backslash_quote",
            "log_statement",
            "debug_print_parse",
            "session_preload_libraries",
            "local_preload_libraries",
            "temp_tablespaces",
            "myapp.user",
            "jit_provider",
            "event_triggers",
            "allow_in_place_tablespaces",
            "createrole_self_grant",
            "restrict_nonsystem_relation_kind",
        ] {
            assert_eq!(bound(name), None, "{name}");
        }
        assert!(!bound("standard_conforming_strings").unwrap().admits("off", None));
        assert!(!bound("client_encoding").unwrap().admits("SJIS", None));
        assert!(!bound("client_encoding").unwrap().admits("utf8x", None));
        for utf8 in ["UTF8", "utf-8", "'utf-8'", "Unicode"] {
            assert!(bound("client_encoding").unwrap().admits(utf8, None), "{utf8}");
        }
        assert!(!bound("work_mem").unwrap().admits("300MB", None));
    }
}
