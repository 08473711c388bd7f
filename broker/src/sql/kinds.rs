//! What kind of thing a statement names: a relation, or one of the kinds that a rule has to name under `objects:`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A kind of database object.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind {
            /// A table, index, view, materialized view or owned sequence: what `tables:` covers by itself.
            Relation,
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind that `objects:` can name, in the order of the policy reference.
            pub const NAMED: &'static [Self] = &[$(Self::$name,)*];

            /// The word the policy uses.
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::Relation => "relation",
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// A cast. It goes by the name of its user-defined type.
    Cast = "cast",
    /// A collation.
    Collation = "collation",
    /// A function or procedure that runs with its owner's rights (SECURITY DEFINER), whoever calls it.
    DefinerFunction = "definer-function",
    /// A domain. Its CHECK is judged as what it calls.
    Domain = "domain",
    /// An extension, by the schema it goes into and its own name.
    Extension = "extension",
    /// A function, procedure or aggregate. A body in quotes is not seen by the judgement.
    Function = "function",
    /// An operator, operator class or operator family.
    Operator = "operator",
    /// A row security policy. It goes by the name of its table.
    Policy = "policy",
    /// A publication. It goes by the names of the tables it publishes.
    Publication = "publication",
    /// A schema, as `schema.*`.
    Schema = "schema",
    /// A sequence that no column owns.
    Sequence = "sequence",
    /// Extended statistics.
    Statistics = "statistics",
    /// A text search configuration or dictionary.
    TextSearch = "text-search",
    /// A trigger. It goes by the name of its table.
    Trigger = "trigger",
    /// An enum, composite or range type.
    Type = "type",
}

/// Kinds that no rule can name: they reach beyond the database, or decide who may do what.
pub const NEVER: &[&str] = &[
    "access-method",
    "database",
    "event-trigger",
    "foreign-data-wrapper",
    "language",
    "parameter",
    "role",
    "rule",
    "server",
    "subscription",
    "tablespace",
    "transform",
    "user-mapping",
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_sorted_and_no_kind_is_both_named_and_forbidden() {
        let words: Vec<&str> = Kind::NAMED.iter().map(|kind| kind.as_str()).collect();
        assert!(words.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(NEVER.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(words.iter().all(|word| !NEVER.contains(word)));
    }
}
