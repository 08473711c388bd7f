//! The places in a text where a relation's rows come in: what has to be known to put something else there.

use serde::{Deserialize, Serialize};

use super::Columns;

/// One mention of a relation in FROM, as the table of COPY … TO, or of LOCK … IN ACCESS SHARE MODE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The relation's schema.
    pub schema: String,
    /// The relation's name.
    pub name: String,
    /// Where its name begins in the text that was read, in bytes.
    pub at: usize,
    /// The name it is seen under: its alias, or its own.
    pub shown: String,
    /// That name is written: something else can stand there without one of its own.
    pub aliased: bool,
    /// Without the rows of what inherits from it: ONLY, or COPY.
    pub only: bool,
    /// What stands there.
    pub form: Form,
    /// What is read through it.
    pub columns: Columns,
    /// Why nothing else can stand there, in words for the author.
    pub bound: Option<String>,
    /// Where column references begin that name it together with its schema, in bytes.
    pub qualified: Vec<usize>,
    /// A GROUP BY that relies on its primary key.
    pub grouping: Option<Grouping>,
}

/// What stands at a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// An item of FROM.
    From,
    /// The table of COPY … TO, with the columns that are named.
    Copy(Vec<String>),
    /// A table of LOCK, in the mode of those who read.
    Lock,
}

/// `GROUP BY` over every column of a primary key: all other columns depend on it, as long as they come from the table
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grouping {
    /// Where an item of GROUP BY begins that stands for one of the key's columns: its name, a target's position or a
    /// target's name, in bytes.
    pub at: usize,
    /// The relation's columns and the names they are seen under, but for the key's and those in grouping sets.
    pub columns: Vec<(String, String)>,
}
