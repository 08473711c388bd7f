//! The functions of `pg_catalog`, each with what it may do to whom: `functions.txt` holds every name that PostgreSQL 15
//! to 18 have, one a line with its class and, where not all of them have it, the first version that does (`16`) or the
//! last (`-16`). A name covers all its overloads. A name that is not there is not safe.
//!
//! Safe are functions that work on the values they are given. Not "all that are immutable or stable": `table_to_xml`,
//! `query_to_xml` and `ts_stat` are stable and read any table by its name. A scope may name others under `functions:`.

use std::collections::HashMap;
use std::sync::LazyLock;

const LIST: &str = include_str!("functions.txt");

macro_rules! reaches {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $title:literal, $why:literal,)*) => {
        /// What a function reaches beyond its arguments.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reach {
            $($(#[$doc])* $name,)*
        }

        impl Reach {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word of the list.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// A heading.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Why functions of this class are in the safe set, or are not.
            pub fn why(self) -> &'static str {
                match self { $(Self::$name => $why,)* }
            }
        }
    };
}

reaches! {
    /// Nothing.
    Safe = "safe", "Safe",
        "They work on the values they are given, or tell what every client may know of its own session. Every scope may call them.",
    /// The server's lock table.
    AdvisoryLock = "advisory-lock", "Advisory locks",
        "They make other sessions wait, and the session-wide ones outlive the transaction. The presets of migration tools name those that the tool takes.",
    /// Other processes of the server.
    BackendControl = "backend-control", "Other backends",
        "They cancel, terminate or inspect other sessions, or make the server write to its log.",
    /// The catalogs.
    Catalog = "catalog", "Descriptions of objects",
        "They print definitions, comments and properties of any object by its number, whatever the scope may read. `introspection/clients` and `introspection/psql` name them.",
    /// The server's activity.
    Disclosure = "disclosure", "Activity and statistics",
        "They show what other sessions do, how large and how busy tables are, the most common values of columns, addresses and start times.",
    /// The server's files.
    File = "file", "Files",
        "They read, list or name files of the server, or read its configuration files.",
    /// Memory.
    Growth = "growth", "Large out of small",
        "They make a huge value out of a small one, or hand a text to an XML parser: memory of the server for a few bytes of SQL. `lpad` and `rpad` to a length that is written down, and `repeat` of a constant, need no rule up to 10,000 characters.",
    /// Large objects.
    LargeObject = "large-object", "Large objects",
        "Large objects are tables without a name that a rule could cover.",
    /// Other sessions' notifications.
    Notify = "notify", "Notifications",
        "NOTIFY and LISTEN are statement classes of their own; the functions would get around them.",
    /// Privileges of roles.
    Privileges = "privileges", "Privileges of roles",
        "They tell what any role may do.",
    /// Relations by name or by query text.
    ReadsByName = "reads-by-name", "Relations, types and queries as text",
        "They read a relation or call a type whose name, or run a query whose text, is a value: no rule would see it.",
    /// Replication.
    Replication = "replication", "Replication, WAL and backup",
        "They read, move or promise the write-ahead log: every change of every table goes through it.",
    /// Sequences.
    Sequence = "sequence", "Sequences",
        "They read or move a sequence by its name. A column's own default needs no call.",
    /// Server-wide state.
    Server = "server", "Maintenance of the server",
        "They change statistics, indexes, catalogs or internal state of the server.",
    /// Session state.
    Session = "session", "State of the session",
        "They change what later statements of the session give, or repeat their text.",
    /// Settings.
    Setting = "setting", "Settings",
        "`set_config` and `current_setting` with constant names are judged like SET and SHOW; otherwise they reach any setting.",
    /// Time.
    Sleep = "sleep", "Sleeping",
        "They hold a connection, and what it has locked, for as long as they like.",
    /// PostgreSQL's own machinery.
    Support = "support", "Support routines",
        "Operators, casts, types, indexes and aggregates call them; nobody needs to call them by name. Some take internal pointers.",
    /// Transactions.
    Transaction = "transaction", "Transactions and snapshots",
        "They assign transaction numbers, tell of other transactions, or hand a snapshot to another session.",
}

/// One line of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The function's name.
    pub name: &'static str,
    /// Its class.
    pub reach: Reach,
    /// The first major version that has it, when that is after 15.
    pub since: Option<u32>,
    /// The last one, when that is before 18.
    pub until: Option<u32>,
}

impl Entry {
    /// True when a server of this major version, 15 to 18, has it.
    pub fn is_in(&self, version: u32) -> bool {
        self.since.is_none_or(|since| since <= version) && self.until.is_none_or(|until| version <= until)
    }
}

/// Every line of the list, in order; a line that cannot be read is left out, and its function is not safe.
pub fn entries() -> impl Iterator<Item = Entry> {
    LIST.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, reach, version) = (words.next()?, words.next()?, words.next());
        Some(Entry {
            name,
            reach: *Reach::ALL.iter().find(|known| known.as_str() == reach)?,
            since: version.and_then(|version| version.parse().ok()),
            until: version.and_then(|version| version.strip_prefix('-')?.parse().ok()),
        })
    })
}

static BY_NAME: LazyLock<HashMap<&'static str, Reach>> =
    LazyLock::new(|| entries().map(|entry| (entry.name, entry.reach)).collect());

/// True when every scope may call this function of `pg_catalog`. It then has no effect either.
pub fn is_safe(name: &str) -> bool {
    reach(name) == Some(Reach::Safe)
}

/// What a function of `pg_catalog` reaches; `None` when it is not in the list.
pub fn reach(name: &str) -> Option<Reach> {
    BY_NAME.get(name).copied()
}

/// The published document: the classes, why each is in the safe set or not, and every function.
pub fn document() -> String {
    let mut text = String::from(
        "# The functions of `pg_catalog`\n\n\
         Every scope may call the safe ones. Any other has to be named under `functions:` of the scope and of its ceiling, or\n\
         by a preset. Operators and casts of PostgreSQL's own types need no rule; those of other schemas count as calls.\n\n\
         The list is [functions.txt](../src/sql/functions.txt): every function of PostgreSQL 15 to 18, compared with the\n\
         `pg_proc` of live servers by a test. A function that it does not hold, of whatever version, is not safe.\n",
    );
    for reach in Reach::ALL {
        let names: Vec<String> = entries()
            .filter(|entry| entry.reach == *reach)
            .map(|entry| match (entry.since, entry.until) {
                (Some(version), _) => format!("`{}` ({version}+)", entry.name),
                (None, Some(version)) => format!("`{}` (to {version})", entry.name),
                (None, None) => format!("`{}`", entry.name),
            })
            .collect();
        text += &format!("\n## {} ({})\n\n{}\n\n", reach.title(), names.len(), reach.why());
        if *reach == Reach::Support {
            text += "<details><summary>the list</summary>\n\n";
        }
        text += &names.join(" ");
        text += if *reach == Reach::Support {
            "\n\n</details>\n"
        } else {
            "\n"
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_read_and_no_name_stands_twice() {
        let names: Vec<&str> = entries().map(|entry| entry.name).collect();
        assert_eq!(names.len(), LIST.lines().count());
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(
            Reach::ALL
                .iter()
                .all(|reach| entries().any(|entry| entry.reach == *reach))
        );
    }

    #[test]
    fn functions_that_reach_beyond_their_arguments_are_not_safe() {
        for name in [
            "query_to_xml",
            "table_to_xml",
            "schema_to_xml",
            "database_to_xml",
            "cursor_to_xml",
            "ts_stat",
            "ts_rewrite",
            "lo_get",
            "lo_import",
            "lo_export",
            "pg_read_file",
            "pg_ls_dir",
            "pg_stat_file",
            "pg_sleep",
            "pg_notify",
            "nextval",
            "setval",
            "currval",
            "lastval",
            "pg_advisory_lock",
            "pg_terminate_backend",
            "pg_cancel_backend",
            "pg_get_viewdef",
            "pg_get_functiondef",
            "col_description",
            "obj_description",
            "txid_current",
            "repeat",
            "lpad",
            "rpad",
            "pg_stat_get_activity",
            "pg_reload_conf",
            "pg_export_snapshot",
            "pg_relation_filenode",
            "has_table_privilege",
            "pg_prepared_statement",
            "pg_cursor",
            "pg_show_all_settings",
            "pg_logical_emit_message",
            "set_config",
            "current_setting",
            "pg_input_is_valid",
            "pg_input_error_info",
            "pg_get_acl",
            "pg_get_sequence_data",
            "pg_restore_attribute_stats",
            "pg_stat_get_io",
        ] {
            assert!(!is_safe(name), "{name}");
        }
        assert!(is_safe("count"));
    }
}
