//! From PostgreSQL's tree to closed [`Statement`]s.
//!
//! The walk is an allow-list. Every node kind that is understood is named, every struct is taken apart field by field
//! (a field that a new grammar adds breaks the build here), and whatever is left becomes a sentence in
//! [`Statement::opaque`], which denies the statement. Names resolve as the server would resolve them: through the
//! search path, lexical CTE scopes, LATERAL visibility, column lists and aliases.

mod alter;
mod attached;
pub(in crate::sql) mod create;
mod define;
mod dml;
mod documents;
mod expression;
mod filter;
mod from;
mod hangs;
mod label;
mod literal;
mod merge;
pub(in crate::sql) mod names;
mod objects;
mod rights;
mod scope;
mod select;
mod sequences;
mod session;
mod sets_off;
mod sources;
mod statement;
mod types;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::grammar::{self, Respelled, Tree, Unreadable, nodes};
use super::{
    Ask, Barrier, Block, Class, Columns, Copied, Effect, FunctionName, Hang, Kind, Names, Proposed, Relation, Setting,
    Snapshot, Source, Statement, Touch, Uncounted, tripwire,
};
use scope::{Cte, Level};

/// Reads `text` into one [`Statement`] per statement, in order; an empty text has none. What this may cost is bounded,
/// but high: not for a process that serves others.
pub fn read(text: &str, snapshot: &Snapshot) -> Result<Vec<Statement>, Unreadable> {
    grammar::read(text, |tree| {
        let mut effort = EFFORT;
        all(tree, text, snapshot, &mut effort)
    })
}

/// [`read`] of a text that is small in every respect: bytes, depth, and what resolving its names costs. `None` when it
/// is not.
pub fn read_small(text: &str, snapshot: &Snapshot) -> Option<Result<Vec<Statement>, Unreadable>> {
    let mut effort = SMALL_EFFORT;
    let read = grammar::read_small(text, |tree| all(tree, text, snapshot, &mut effort))?;
    (effort > 0).then_some(read)
}

pub(in crate::sql) fn all(tree: &Tree, text: &str, snapshot: &Snapshot, effort: &mut usize) -> Vec<Statement> {
    let mut statements: Vec<Statement> = tree
        .statements
        .iter()
        .map(|raw| one(raw, text, &tree.long_names, snapshot, effort))
        .collect();
    let second = match &tree.respelled {
        Respelled::Same => Some(text),
        Respelled::Other(text) => Some(text.as_str()),
        Respelled::Nothing => None,
    };
    if let Some(reason) = second.and_then(|text| tripwire::disagrees(text, tree.depth, &statements)) {
        for statement in &mut statements {
            statement.opaque.push(format!("the two readers disagree: {reason}"));
        }
    }
    statements
}

fn one(raw: &nodes::RawStmt, text: &str, long_names: &[usize], snapshot: &Snapshot, effort: &mut usize) -> Statement {
    let nodes::RawStmt {
        stmt,
        stmt_location,
        stmt_len,
    } = raw;
    let start = usize::try_from(*stmt_location).unwrap_or(0).min(text.len());
    let end = match usize::try_from(*stmt_len) {
        Ok(length) if length > 0 => start.saturating_add(length).min(text.len()),
        _ => text.len(),
    };
    let mut walk = Walk::new(snapshot, *effort);
    let next_long = long_names.get(long_names.partition_point(|at| *at < start));
    if next_long.is_some_and(|at| *at < end) {
        walk.opaque("name longer than 63 bytes");
    }
    if !snapshot.is_known_server() {
        walk.opaque("the server is none of PostgreSQL 15 to 18");
    }
    match stmt.as_deref() {
        Some(node) => walk.statement(node),
        None => walk.opaque("an empty statement"),
    }
    *effort = walk.effort;
    walk.finish(start..end)
}

/// How much name resolution one text may cost, in comparisons of names. A text of a few kilobytes can ask for
/// more columns than any machine holds: `SELECT *, * FROM (SELECT *, * FROM …`.
const EFFORT: usize = 16_000_000;
/// The same for a text that is read by a process that serves others.
const SMALL_EFFORT: usize = 2_000_000;
/// What a column costs that is kept rather than compared.
const KEPT: usize = 16;
/// PostgreSQL's own limit on the columns of a result.
const MAX_COLUMNS: usize = 1664;

/// What has been found so far in one statement, and where the walk stands.
struct Walk<'a> {
    snapshot: &'a Snapshot,
    /// The leading class.
    class: Class,
    touches: BTreeMap<(Class, Kind, String, String), Columns>,
    functions: BTreeSet<FunctionName>,
    settings: Vec<Setting>,
    opaque: Vec<String>,
    effect: Effect,
    barrier: Barrier,
    names: Names,
    unbounded: Vec<Touch>,
    block: Block,
    by_owner: bool,
    by_number: bool,
    uncounted: Option<Uncounted>,
    copies: Option<Copied>,
    /// How often a column of a DML target was read: what a WHERE without any does not bound.
    target_reads: usize,
    /// FROM scopes, the innermost last.
    levels: Vec<Level<'a>>,
    /// CTEs in scope, the innermost last.
    ctes: Vec<Cte>,
    /// Every relation that was read so far, in order: what a locking clause locks.
    reads: Vec<&'a Relation>,
    /// What can fail, and where.
    noise: attached::Noise,
    /// Partitions and inheritance children by their parents, once somebody asked.
    children: Option<BTreeMap<(&'a str, &'a str), Vec<&'a Relation>>>,
    /// How many comparisons of names are left; none, and the statement is opaque.
    effort: usize,
    /// Where relations were read through FROM.
    sources: Vec<Source>,
    /// Something else could stand for what is read through FROM: no definition is being made of it.
    replaceable: bool,
    /// Reads of relations anywhere else.
    direct: BTreeMap<(String, String), Columns>,
    proposed: Vec<Proposed>,
    renames: Vec<(String, String)>,
    leaves: Vec<(String, String)>,
    tried: Vec<(String, String)>,
    hangs: Vec<Hang>,
    /// Where the column reference begins that is being resolved.
    here: usize,
    /// The only value that `name` can have in this target list: `FROM pg_settings WHERE name = '…'`.
    pinned: Option<String>,
    /// Parameters whose values are judged when they are bound.
    asks: Vec<Ask>,
    /// Overloads that are meant only if some value is not of an everyday type, and whether one is.
    shy: BTreeSet<FunctionName>,
    odd: bool,
}

impl<'a> Walk<'a> {
    fn new(snapshot: &'a Snapshot, effort: usize) -> Self {
        Self {
            snapshot,
            class: Class::Select,
            touches: BTreeMap::new(),
            functions: BTreeSet::new(),
            settings: Vec::new(),
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
            target_reads: 0,
            levels: Vec::new(),
            ctes: Vec::new(),
            reads: Vec::new(),
            noise: attached::Noise::default(),
            children: None,
            effort,
            sources: Vec::new(),
            replaceable: false,
            direct: BTreeMap::new(),
            proposed: Vec::new(),
            renames: Vec::new(),
            leaves: Vec::new(),
            tried: Vec::new(),
            hangs: Vec::new(),
            here: 0,
            pinned: None,
            asks: Vec::new(),
            shy: BTreeSet::new(),
            odd: false,
        }
    }

    fn finish(mut self, span: std::ops::Range<usize>) -> Statement {
        let touches: Vec<Touch> = std::mem::take(&mut self.touches)
            .into_iter()
            .map(|((class, kind, schema, name), columns)| Touch {
                class,
                kind,
                schema,
                name,
                columns,
            })
            .collect();
        self.stored_values(&touches);
        let (implied, reaches) = self.implied(&touches);
        let direct = std::mem::take(&mut self.direct);
        let direct = direct.into_iter().map(|((schema, name), columns)| Touch {
            class: Class::Select,
            kind: Kind::Relation,
            schema,
            name,
            columns,
        });
        Statement {
            class: self.class,
            span,
            touches,
            functions: self.functions.into_iter().collect(),
            settings: self.settings,
            asks: self.asks,
            opaque: self.opaque,
            effect: self.effect,
            barrier: self.barrier,
            names: self.names,
            unbounded: self.unbounded,
            block: self.block,
            by_owner: self.by_owner,
            by_number: self.by_number,
            uncounted: self.uncounted,
            copies: self.copies,
            implied,
            reaches,
            sources: self.sources,
            direct: direct.collect(),
            proposed: self.proposed,
            renames: self.renames,
            leaves: self.leaves,
            tried: self.tried,
            hangs: self.hangs,
        }
    }

    /// Records a part that is not understood.
    fn opaque(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        // Hundreds of equal reasons say no more than one.
        if self.opaque.len() < 32 && !self.opaque.contains(&reason) {
            self.opaque.push(reason);
        }
    }

    /// Pays for `cost` comparisons; false, and the statement opaque, when nothing is left to pay with.
    fn pays(&mut self, cost: usize) -> bool {
        let left = self.effort.checked_sub(cost);
        if left.is_none() {
            self.opaque("more names than are resolved in one statement");
        }
        self.effort = left.unwrap_or(0);
        self.effort > 0
    }

    /// The statement changes data, rights or objects.
    fn changes(&mut self) {
        self.effect = Effect::Change;
    }

    /// The statement changes how later names resolve.
    fn changes_schema(&mut self) {
        self.effect = Effect::Change;
        self.barrier = Barrier::Schema;
    }

    /// Touches columns of `schema.name` under `class`, in addition to those it touches already.
    fn touch<'c>(&mut self, class: Class, schema: &str, name: &str, columns: impl IntoIterator<Item = &'c str>) {
        let columns: Vec<&str> = columns.into_iter().collect();
        if class == Class::Select {
            let place = (schema.to_owned(), name.to_owned());
            self.direct.entry(place).or_insert_with(Columns::none).add(&columns);
        }
        self.touches
            .entry((class, Kind::Relation, schema.to_owned(), name.to_owned()))
            .or_insert_with(Columns::none)
            .add(&columns);
    }

    /// The statement tells something of the values in these columns, and asks for no right to read them.
    fn looks_at<'c>(&mut self, relation: &Relation, columns: impl IntoIterator<Item = &'c String>) {
        let columns: Vec<&str> = columns.into_iter().map(String::as_str).collect();
        let place = (relation.schema.clone(), relation.name.clone());
        self.direct.entry(place).or_insert_with(Columns::none).add(&columns);
    }

    /// Touches `schema.name` as a whole under `class`.
    fn touch_whole(&mut self, class: Class, schema: &str, name: &str) {
        if class == Class::Select {
            let place = (schema.to_owned(), name.to_owned());
            self.direct.insert(place, Columns::Whole);
        }
        self.touch_object(class, Kind::Relation, schema, name);
    }

    /// Touches an object of any kind under `class`.
    fn touch_object(&mut self, class: Class, kind: Kind, schema: &str, name: &str) {
        self.touches
            .insert((class, kind, schema.to_owned(), name.to_owned()), Columns::Whole);
    }

    /// [`Walk::touch_whole`] of a relation of the snapshot.
    fn touch_relation(&mut self, class: Class, relation: &Relation) {
        self.touch_whole(class, &relation.schema, &relation.name);
    }

    /// Parameters here are not those of a Bind: their values can be any.
    fn asks_anything(&mut self) {
        for ask in std::mem::take(&mut self.asks) {
            match ask {
                Ask::Setting(_) => self.calls("pg_catalog", "current_setting"),
                Ask::Path(_) => self.opaque("set_config with arguments that are not literals"),
            }
        }
    }

    /// Records a setting; a value of `None` is RESET, DEFAULT or a read.
    fn setting(&mut self, name: &str, value: Option<String>) {
        let name = name.to_ascii_lowercase();
        // SHOW and current_setting change nothing.
        if name == "search_path" && (value.is_some() || self.class == Class::Set) {
            self.barrier = Barrier::Schema;
        }
        self.settings.push(Setting { name, value });
    }
}

#[cfg(test)]
mod tests;
