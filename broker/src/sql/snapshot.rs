//! A picture of the live schema: what names resolve against. Loaded by `catalog/`, pure data here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bound::{self, Bound, Moved};
use super::{FunctionName, Kind, TEMPORARY};
use crate::mask::ColumnType;

/// What kind of relation it is (`pg_class.relkind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelationKind {
    /// A composite type (`c`).
    Composite,
    /// A foreign table (`f`).
    Foreign,
    /// An index, partitioned or not (`i`, `I`).
    Index,
    /// A materialized view (`m`).
    MaterializedView,
    /// A sequence (`S`).
    Sequence,
    /// A table, partitioned or not (`r`, `p`).
    Table,
    /// A TOAST table (`t`).
    Toast,
    /// A view (`v`).
    View,
}

/// One relation of the live schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema's name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: RelationKind,
    /// Live user columns in attribute order (`attnum > 0`, not dropped).
    pub columns: Vec<String>,
    /// For an index, the table it belongs to; for an owned sequence, the table that owns it; for a partition or an
    /// inheritance child, nothing.
    pub owner_table: Option<(String, String)>,
    /// Direct inheritance parents and partition roots, as (schema, name).
    pub parents: Vec<(String, String)>,
    /// The columns of its primary key; for an index, those of its table that it is made of.
    #[serde(default)]
    pub key: Vec<String>,
    /// What is known of each of `columns`, in their order. Empty for PostgreSQL's own relations.
    #[serde(default)]
    pub facts: Vec<ColumnFact>,
    /// What a statement on it reaches without naming it. Empty for PostgreSQL's own relations.
    pub attached: Attached,
}

/// One column of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnFact {
    /// `pg_attribute.attnum`: it stays the same when the column gets another name.
    pub number: i16,
    /// Its type.
    pub of: ColumnType,
    /// It is computed from others (GENERATED ALWAYS AS).
    #[serde(default)]
    pub generated: bool,
    /// The catalog keeps the value that rows older than the column have in it (`pg_attribute.atthasmissing`).
    #[serde(default)]
    pub kept: bool,
}

/// What hangs on a relation: what its query reads, and what runs with the rights of somebody else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attached {
    /// What a view or a materialized view reads.
    pub reads: Vec<Reads>,
    /// A view that keeps rows of what it reads to itself, and has no `security_barrier`: what stands in a condition may
    /// be computed for those rows too, and an error then shows them.
    pub leaks: bool,
    /// What CREATE RULE turns into something else: `insert`, `update`, `delete`.
    pub rules: Vec<String>,
    /// A trigger may change a row before it is inserted.
    pub prepares: bool,
    /// Triggers whose functions are SECURITY DEFINER.
    pub triggers: Vec<Trigger>,
    /// SECURITY DEFINER functions in the query of a view, in defaults, generated columns, checks and indexes.
    pub calls: Vec<Call>,
    /// The columns that choose the partition of a row: all of them where an expression does.
    pub keys: Vec<String>,
    /// Tables that its foreign keys point to.
    pub references: Vec<Reference>,
    /// SECURITY DEFINER functions that come with the types of its columns, of its row or of its indexes.
    pub values: Vec<Call>,
    /// Constraints that are not tried on older rows yet (NOT VALID), by name, with their columns.
    pub unproven: Vec<(String, Vec<String>)>,
    /// Columns that are not of one of [`Overloads::types`]; known only where some overload is shy.
    pub odd: Vec<String>,
    /// Generated columns, each with every column that it is computed from.
    pub derived: Vec<(String, String)>,
    /// What DROP … CASCADE would take along and no snapshot names: by column, or `None` for the relation itself.
    pub entangled: Vec<Option<String>>,
}

/// One relation that a view reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns; `None` when whole rows are read.
    pub columns: Option<Vec<String>>,
}

/// One trigger that runs with the rights of its function's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The schema of its function.
    pub schema: String,
    /// The name of its function.
    pub name: String,
    /// `insert`, `update`, `delete`, `truncate`.
    pub events: Vec<String>,
    /// `UPDATE OF` these columns; empty for any.
    pub columns: Vec<String>,
    /// It fires only for a new row in which this column is this text.
    pub when: Option<When>,
}

/// `WHEN (new.column = 'text')`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// The column.
    pub column: String,
    /// The text.
    pub text: String,
    /// The column has a default, which could be that text.
    pub has_default: bool,
}

/// One function that runs with its owner's rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The column of which it makes the default, or with whose type it comes; `None` when every row calls it.
    pub column: Option<String>,
}

/// SECURITY DEFINER functions that come with values of user-defined types: PostgreSQL calls them, named by nobody, to
/// compare, hash, sort, cast, check or default a value, or one that holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Carriers {
    /// Those that come with PostgreSQL's own types: any statement may call them.
    pub everywhere: Vec<FunctionName>,
    /// Types, array types among them.
    pub types: Vec<Carrier>,
    /// Functions and operators that take or give such types.
    pub functions: Vec<Carrier>,
}

/// Functions and operators that go by a name of PostgreSQL's own, which PostgreSQL prefers for values of its own types.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overloads {
    /// Functions of extensions: plain, like an extension's operators.
    pub plain: Vec<FunctionName>,
    /// Functions and operators that PostgreSQL chooses only for a value that is not of one of `types`.
    pub shy: Vec<FunctionName>,
    /// The everyday types, by OID and name. Empty unless some overload is shy.
    pub types: Vec<(u32, String)>,
    /// Functions of PostgreSQL that make a value of another type out of values of these.
    pub givers: Vec<String>,
}

/// One type, function or operator that brings functions along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carrier {
    /// `pg_type.oid` of a type, else 0.
    #[serde(default)]
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What may run along with it.
    pub calls: Vec<FunctionName>,
}

impl Carriers {
    /// Every one of them.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Carrier> {
        self.types.iter_mut().chain(&mut self.functions)
    }

    /// True when nothing brings anything along, as in most databases.
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.types.is_empty() && self.functions.is_empty()
    }
}

/// Functions that something runs without a statement that names them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hangs {
    /// What runs them.
    pub places: Vec<Place>,
    /// Functions that a place refers to, through operators, casts, types and aggregates as well.
    pub held: Vec<Called>,
    /// Names that the bodies of such functions, and of SECURITY DEFINER functions, call; in lower case.
    pub said: Vec<Called>,
    /// Functions of extensions: schema, name, extension.
    pub extensions: Vec<(String, String, String)>,
}

/// What runs a function: a trigger, a default, a check, an index, a view, a policy, an operator, a cast, a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As PostgreSQL describes it.
    pub words: String,
    /// The kind that a rule names it by; `None` where no rule can.
    pub kind: Option<Kind>,
    /// The schema of what a rule names.
    pub schema: Option<String>,
    /// Its name: of a trigger, a default and a check the table's.
    pub name: Option<String>,
}

/// A function that is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// Its schema; `None` for any that a search path reaches.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// The function whose body calls it.
    #[serde(default)]
    pub within: Option<String>,
    /// By their place in [`Hangs::places`].
    pub places: Vec<usize>,
}

/// One foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The schema of the table it points to.
    pub schema: String,
    /// The name of that table.
    pub name: String,
    /// The columns it points to.
    pub columns: Vec<String>,
    /// Rows go or change here when a row goes or changes there.
    pub cascades: bool,
}

/// The schema as one session sees it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Changes whenever anything below changes; part of every cached decision's key.
    pub version: u64,
    /// `server_version_num`, such as 150018.
    pub server_version: u32,
    /// The effective search path (`current_schemas(true)`): `pg_catalog` first unless it is named elsewhere, before it
    /// the session's own temporary schema, which goes by `pg_temp` here.
    pub search_path: Vec<String>,
    /// The search path that sessions begin with, as the login's own setting names it.
    #[serde(default)]
    pub home: Vec<String>,
    /// The name of the role that sessions are: what `"$user"`, `current_user` and role references resolve to.
    pub user: String,
    /// The server's name of the database, which may stand in front of a schema's.
    pub database: String,
    /// schema → name → relation, every schema the login can see, `pg_catalog` and `information_schema` included.
    pub relations: HashMap<String, BTreeMap<String, Relation>>,
    /// Function name → the schemas that hold a function, aggregate or procedure of that name.
    pub functions: HashMap<String, Vec<String>>,
    /// Type name → the schemas that hold a type of that name (array types left out).
    pub types: HashMap<String, Vec<String>>,
    /// Operator name → the schemas other than `pg_catalog` that hold an operator of that name. Operators of an extension
    /// are left out: `hstore` or `citext` in `public` would otherwise make every `=` a call that a rule has to name, and
    /// only a superuser installs them.
    pub user_operators: HashMap<String, Vec<String>>,
    /// What types bring along.
    #[serde(default)]
    pub carriers: Carriers,
    /// What shares its name with PostgreSQL's own functions and operators.
    #[serde(default)]
    pub overloads: Overloads,
    /// What policies saw of it first, set by [`Snapshot::bind`].
    #[serde(skip)]
    pub bound: Arc<Bound>,
    /// What goes by another name since, set with it.
    #[serde(skip)]
    pub moved: Arc<[Moved]>,
    /// What would run another body of a function.
    #[serde(default)]
    pub hangs: Hangs,
}

impl Snapshot {
    /// Holds it against what policies saw first. Its version counts that too.
    pub fn bind(&mut self, bound: Arc<Bound>) {
        self.version ^= self.bound.version() ^ bound.version();
        self.moved = bound::moved(self, &bound).into();
        self.bound = bound;
    }

    /// True for a server whose grammar is known to be read here as it is read there: PostgreSQL 15 to 18.
    pub fn is_known_server(&self) -> bool {
        (150_000..190_000).contains(&self.server_version)
    }

    /// What other sessions see of it.
    #[must_use]
    pub fn without_temporary(&self) -> Self {
        let mut shared = self.clone();
        shared.relations.remove(TEMPORARY);
        shared.search_path.retain(|schema| schema != TEMPORARY);
        for names in [&mut shared.functions, &mut shared.types, &mut shared.user_operators] {
            names.retain(|_, holders| {
                holders.retain(|schema| schema != TEMPORARY);
                !holders.is_empty()
            });
        }
        shared.version = self.shared_version();
        shared
    }

    /// The version of what other sessions see of it. Decisions are kept by version: this one's is another.
    pub fn shared_version(&self) -> u64 {
        if self.has_temporary() {
            !self.version
        } else {
            self.version
        }
    }

    /// The relation `schema.name`.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(schema)?.get(name)
    }

    /// The relations whose rows those of this one are, too: what it inherits from, or is a partition of.
    pub fn ancestors<'a>(&'a self, relation: &'a Relation) -> Vec<&'a Relation> {
        let mut found: Vec<&Relation> = Vec::new();
        let mut waiting = vec![relation];
        while let Some(child) = waiting.pop() {
            for parent in child
                .parents
                .iter()
                .filter_map(|(schema, name)| self.relation(schema, name))
            {
                if !found.iter().any(|known| known.oid == parent.oid) {
                    found.push(parent);
                    waiting.push(parent);
                }
            }
        }
        found
    }

    /// The relation an unqualified `name` means: the first hit along the search path.
    pub fn resolve_relation(&self, name: &str) -> Option<&Relation> {
        self.search_path.iter().find_map(|schema| self.relation(schema, name))
    }

    /// The schema of the function an unqualified `name` means. PostgreSQL chooses by argument types across the whole
    /// path; a name that lives in several schemas of the path is ambiguous to us, and all of them are returned.
    pub fn resolve_function(&self, name: &str) -> Vec<&str> {
        let Some(holders) = self.functions.get(name) else {
            return Vec::new();
        };
        // The server looks for tables and types in the temporary schema, never for functions.
        self.search_path
            .iter()
            .filter(|schema| *schema != TEMPORARY && holders.contains(schema))
            .map(String::as_str)
            .collect()
    }

    /// True when the session has, or had, temporary relations: no other session sees what it sees.
    pub fn has_temporary(&self) -> bool {
        self.search_path.iter().any(|schema| schema == TEMPORARY)
    }

    /// Where an unqualified new relation would be created: the first schema of the path that is not implicit.
    pub fn creation_schema(&self) -> Option<&str> {
        self.search_path
            .iter()
            .map(String::as_str)
            .find(|schema| *schema != "pg_catalog" && !schema.starts_with(TEMPORARY))
    }
}
