//! SQL text in, closed [`Statement`]s out, read with PostgreSQL's own grammar against a schema [`Snapshot`].

pub mod bound;
pub mod functions;
pub mod grammar;
pub mod kinds;
pub mod lower;
pub mod project;
pub mod quote;
#[cfg(test)]
pub(crate) mod sample;
pub mod settings;
pub mod snapshot;
pub mod source;
pub mod splice;
mod tripwire;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use grammar::Unreadable;
pub use kinds::Kind;
pub use lower::{read, read_small};
pub use snapshot::{Relation, RelationKind, Snapshot};
pub use source::Source;

/// How the snapshot calls the session's own temporary schema, and how SQL may.
pub const TEMPORARY: &str = "pg_temp";

/// In place of a name: everything that the schema holds.
pub const EVERYTHING: &str = "*";

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A statement class: what a policy's `statements:` names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Class {
            $($(#[$doc])* $name,)*
        }

        impl Class {
            /// Every class, in the order of the policy reference.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word the policy uses.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

classes! {
    /// SELECT, VALUES, TABLE.
    Select = "select",
    /// INSERT.
    Insert = "insert",
    /// UPDATE.
    Update = "update",
    /// DELETE.
    Delete = "delete",
    /// MERGE.
    Merge = "merge",
    /// TRUNCATE.
    Truncate = "truncate",
    /// COPY … FROM STDIN.
    CopyIn = "copy-in",
    /// COPY … TO STDOUT.
    CopyOut = "copy-out",
    /// CREATE of any kind.
    Create = "create",
    /// ALTER and RENAME of any kind.
    Alter = "alter",
    /// DROP of any kind.
    Drop = "drop",
    /// COMMENT ON.
    Comment = "comment",
    /// GRANT and REVOKE.
    Grant = "grant",
    /// REFRESH MATERIALIZED VIEW.
    Refresh = "refresh",
    /// VACUUM, ANALYZE, REINDEX, CLUSTER.
    Maintain = "maintain",
    /// LOCK TABLE.
    Lock = "lock",
    /// CALL.
    Call = "call",
    /// DO.
    Do = "do",
    /// LISTEN.
    Listen = "listen",
    /// NOTIFY.
    Notify = "notify",
    /// SET and RESET of an allowed setting; UNLISTEN.
    Set = "set",
    /// EXPLAIN; also counts as what it explains.
    Explain = "explain",
    /// DECLARE, FETCH, MOVE, CLOSE; DECLARE also counts as what it wraps.
    Cursor = "cursor",
    /// PREPARE, EXECUTE, DEALLOCATE; PREPARE also counts as what it wraps.
    Prepare = "prepare",
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT …: always allowed.
    Transaction = "transaction",
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.
    TwoPhase = "two-phase",
    /// SHOW of a harmless setting: always allowed.
    Show = "show",
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One statement, understood. What could not be understood is in `opaque`, and an opaque statement is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The leading class.
    pub class: Class,
    /// Where it stands in the text that was read, in bytes, without the closing semicolon.
    pub span: Range<usize>,
    /// Every relation it touches, with the class under which and the columns.
    pub touches: Vec<Touch>,
    /// Every function it calls, operators and casts of user-defined kinds included.
    pub functions: Vec<FunctionName>,
    /// Every setting it changes or, under `show`, reads.
    pub settings: Vec<Setting>,
    /// Parameters whose values are judged when they are bound.
    pub asks: Vec<Ask>,
    /// Parts that were not lowered on purpose, in words for the author. Not empty means denied.
    pub opaque: Vec<String>,
    /// What it does to data or rights.
    pub effect: Effect,
    /// What it changes in how later names resolve.
    pub barrier: Barrier,
    /// The statement-level name space it uses: PREPARE, EXECUTE, DECLARE, FETCH, CLOSE, DEALLOCATE.
    pub names: Names,
    /// Relations it updates or deletes from without a WHERE that looks at a column of theirs.
    pub unbounded: Vec<Touch>,
    /// What the transaction block is after it.
    pub block: Block,
    /// PostgreSQL lets only an owner do it, whatever its class.
    pub by_owner: bool,
    /// With other numbers in it, it could be judged in another way.
    pub by_number: bool,
    /// Why rows that it writes cannot be counted.
    pub uncounted: Option<Uncounted>,
    /// How the rows of COPY … TO are written, as far as that is known.
    pub copies: Option<Copied>,
    /// What it reaches through views.
    pub implied: Vec<Implied>,
    /// Relations that hold rows of those it touches, or whose rows these are, as (schema, name): parents, partitions,
    /// children, tables that a foreign key clears along.
    pub reaches: Vec<(String, String)>,
    /// Where it reads relations in FROM, so that something else can stand for their rows.
    pub sources: Vec<Source>,
    /// What it reads of relations elsewhere: of what it writes to, in definitions, as a whole. Nothing can stand there.
    pub direct: Vec<Touch>,
    /// What ON CONFLICT DO UPDATE takes of the rows that were to be inserted.
    pub proposed: Vec<Proposed>,
    /// Relations that get, or whose columns get, another name.
    pub renames: Vec<(String, String)>,
    /// Partitions and children that it takes from their parents, and parents that lose them.
    pub leaves: Vec<(String, String)>,
    /// Domains that get a check which is tried on every value there is.
    pub tried: Vec<(String, String)>,
    /// What runs the functions that it gives another body.
    pub hangs: Vec<Hang>,
}

impl Statement {
    /// What it touches itself, and through views.
    pub fn touched(&self) -> impl Iterator<Item = &Touch> {
        let behind = self.implied.iter().filter_map(|implied| match &implied.reached {
            Reached::Touch(touch) => Some(touch),
            Reached::Call(_) => None,
        });
        self.touches.iter().chain(behind)
    }
}

/// What one ON CONFLICT DO UPDATE takes of `excluded`, the row that was to be inserted. PostgreSQL asks for the right to read
/// the table's own column for that, though no value of the table's is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// The schema of the table that is inserted into.
    pub schema: String,
    /// The table.
    pub name: String,
    /// The columns that the rows of the statement give values for, in their order.
    pub given: Vec<String>,
    /// The columns that make a conflict; `None` where they are not named plainly.
    pub arbiters: Option<Vec<String>>,
    /// Each column that is taken, and where `excluded.column` begins, in bytes, when it is the whole of what some column
    /// is set to.
    pub taken: Vec<(String, Option<usize>)>,
    /// The row is taken as a whole.
    pub whole: bool,
}

/// How COPY … TO writes rows: in the usual way of text, csv or binary format, nothing about delimiters, quotes and escapes
/// asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// In csv format.
    pub csv: bool,
    /// What each column holds, in their order. Empty where it is not known: behind a query.
    pub columns: Vec<Holds>,
}

/// What a column of COPY holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holds {
    /// json.
    Json,
    /// jsonb.
    Jsonb,
    /// A text.
    Text,
    /// Anything else.
    Other,
}

/// Something that runs a function which gets another body, or which takes the place of the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hang {
    /// The function.
    pub function: FunctionName,
    /// What runs it, in words.
    pub on: String,
    /// What making that anew would touch; `None` where no rule allows it.
    pub place: Option<Touch>,
}

/// What a statement reaches through a view. A rule that names one of the views itself covers it, a glob does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Implied {
    /// Under which class the view is touched.
    pub class: Class,
    /// What is reached.
    pub reached: Reached,
    /// The views on the way, as (schema, name), the outermost first.
    pub views: Vec<(String, String)>,
    /// Rows that the views keep to themselves can show in errors of this statement: no view covers that.
    pub leaks: bool,
}

/// What is behind a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reached {
    /// A relation.
    Touch(Touch),
    /// A function that runs with its owner's rights.
    Call(FunctionName),
}

/// One relation, or one object of another kind, touched under one class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Touch {
    /// Under which class the policy must cover it.
    pub class: Class,
    /// What it is: a relation, or a kind that the rule must name under `objects:`.
    pub kind: Kind,
    /// The schema it resolves to; for something that is about to be created, where it would land.
    pub schema: String,
    /// Its name; `*` for whatever the schema holds.
    pub name: String,
    /// Which of its columns.
    pub columns: Columns,
}

/// The columns of a touch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Columns {
    /// The relation as a whole: whole-row references, TRUNCATE, DDL. A rule with a column list never covers it.
    Whole,
    /// Exactly these, sorted. Empty for `SELECT count(*) FROM t`, which any column rule covers.
    Named(Vec<String>),
}

impl Columns {
    /// None of them.
    pub fn none() -> Self {
        Self::Named(Vec::new())
    }

    /// These as well.
    pub fn add(&mut self, columns: &[&str]) {
        let Self::Named(named) = self else { return };
        for column in columns {
            if let Err(at) = named.binary_search_by(|known| known.as_str().cmp(column)) {
                named.insert(at, (*column).to_owned());
            }
        }
    }
}

/// A function by the schema it resolves to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionName {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// A parameter (`$1` is 1) whose value is judged when it is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// It names a setting that is read.
    Setting(u16),
    /// It becomes the search path.
    Path(u16),
}

/// A run-time setting a statement names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Lower case.
    pub name: String,
    /// The new value; `None` for RESET, DEFAULT and SHOW.
    pub value: Option<String>,
}

/// Whether a statement changes data or rights; the ledger makes a change's intent durable before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Reads only, as far as the tree tells (functions of unknown effect count as changes).
    Read,
    /// May change data, rights or objects.
    Change,
}

/// Whether names may resolve differently afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Barrier {
    /// Names resolve as before.
    None,
    /// The schema changes: the snapshot must be read again before the next statement is judged.
    Schema,
    /// The end of a transaction, ROLLBACK TO: a schema change made in the transaction may be gone. COMMIT is one of them:
    /// in a failed transaction it rolls back, and a deferred constraint can make it fail.
    Rollback,
    /// DISCARD ALL: what is temporary is gone, the search path is the one that the session began with, and so would be
    /// its role, had it not entered one.
    Discard,
}

/// What a statement does to the transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Block {
    /// It leaves it as it is.
    Same,
    /// BEGIN: there is one.
    Opens,
    /// COMMIT, PREPARE TRANSACTION: what was deferred runs, and the block is over; AND CHAIN opens the next one.
    Commits {
        /// Whether there is a next one at once.
        chains: bool,
    },
    /// ROLLBACK: the block is over.
    Drops,
    /// SET CONSTRAINTS: what was deferred may run now.
    Settles,
}

/// Why rows that a statement writes cannot be counted before they are permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Uncounted {
    /// They are a foreign table's: another server writes them.
    Foreign,
    /// A cursor WITH HOLD runs its query once more while the transaction commits.
    Hold,
}

/// The SQL-level prepared statement or cursor a statement works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Names {
    /// None.
    None,
    /// PREPARE makes a statement of this name; its own touches are the wrapped statement's.
    Prepare(String),
    /// EXECUTE runs it: judged as what was prepared, by the session.
    Execute(String),
    /// DECLARE makes a cursor of this name, whose rows come in binary format (`true`) or as texts.
    Declare(String, bool),
    /// FETCH, MOVE or CLOSE of a cursor.
    Cursor(String),
    /// DEALLOCATE of one statement, or of all.
    Deallocate(Option<String>),
}
