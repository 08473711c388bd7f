//! Masks: what stands for the rows of a relation of which the scope masks columns, and what no such statement may do.
//!
//! The rows are replaced in FROM, below everything else of the statement: nothing above ever sees a raw value. Wherever
//! nothing can be replaced, a masked column may not be read at all.

mod around;
mod given;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use super::Denial;
use super::judge::covers_column;
use super::reason::{self, relation, verb};
use super::sights::{self, Fresh, Strayed};
use crate::mask::Mask;
use crate::policy::{Enforcement, MaskRule, Origin, RelationPattern, Scope};
use crate::sql::quote::{identifier, literal, qualified};
use crate::sql::source::Form;
use crate::sql::splice::{Replacement, SpliceFault};
use crate::sql::{Class, Columns, Implied, Kind, Reached, Relation, Snapshot, Source, Statement, TEMPORARY, Touch};

pub(super) use given::given;
pub use views::{View, views};

/// The name that a relation goes by inside of what stands for it.
const INNER: &str = "hoop";

/// What is advised where a masked column is read of what a statement changes.
const IN_FROM: &str = "read the table in FROM (a join, a sub-query), and name columns that are not masked in WHERE, SET, RETURNING and ON CONFLICT of what is changed";

/// The masks of a scope on the relations of a schema.
#[derive(Debug)]
pub(super) struct Masked<'a> {
    scope: &'a Scope,
    snapshot: &'a Snapshot,
    /// By relation, the mask of each column. Masks of what a relation inherits from or hands on hold for it too.
    columns: BTreeMap<(&'a str, &'a str), BTreeMap<&'a str, &'a MaskRule>>,
    /// Relations of which a mask names a column that does not exist.
    broken: BTreeMap<(&'a str, &'a str), &'a MaskRule>,
    /// Masks that name a relation that does not exist.
    lost: Vec<&'a MaskRule>,
    /// What had a mask under another name.
    strayed: Strayed<'a>,
    /// Columns that came after the masks of their relation, or are computed from a masked one.
    fresh: Fresh<'a>,
}

/// A masked column that a statement reads in FROM.
pub(super) struct Shown<'a> {
    /// `schema.table.column` of the relation that stands there, which may not be the one that the rule names.
    pub column: String,
    /// How it is replaced.
    pub rule: &'a MaskRule,
    /// Where the relation stands in the text, in bytes.
    pub at: usize,
}

/// Which mask does not fit its column, if it is one, and why.
type Unfitting<'a> = (Option<&'a MaskRule>, String);

/// What is allowed with masks: nothing to replace, or what.
pub(super) type Replaced = (Vec<Replacement>, BTreeSet<String>);

impl<'a> Masked<'a> {
    pub(super) fn new(scope: &'a Scope, snapshot: &'a Snapshot) -> Self {
        let mut masked = Self {
            scope,
            snapshot,
            columns: BTreeMap::new(),
            broken: BTreeMap::new(),
            lost: Vec::new(),
            strayed: Strayed::new(),
            fresh: Fresh::new(),
        };
        let mut found = Vec::new();
        for rule in &scope.masks {
            let Some(own) = snapshot.relation(&rule.schema, &rule.table) else {
                masked.lost.push(rule);
                continue;
            };
            let family = family(own, snapshot);
            if !own.columns.contains(&rule.column) {
                masked.broken.extend(family.iter().map(|kin| (place(kin), rule)));
            }
            found.push((rule, family));
            let by_column = masked.columns.entry(place(own)).or_default();
            by_column.insert(&rule.column, rule);
        }
        // A relation's own masks come first: those of its family only fill what is left.
        for (rule, family) in found {
            for kin in family {
                if kin.columns.contains(&rule.column) {
                    let by_column = masked.columns.entry(place(kin)).or_default();
                    by_column.entry(&rule.column).or_insert(rule);
                }
            }
        }
        masked.by_sight();
        masked
    }

    /// What only the memory of earlier schemas tells.
    fn by_sight(&mut self) {
        let columns = &self.columns;
        let has = |schema, table, column| {
            let masks = columns.get(&(schema, table));
            masks.is_some_and(|masks: &BTreeMap<&str, &MaskRule>| masks.contains_key(column))
        };
        self.strayed = sights::strayed(self.scope, self.snapshot, has);
        for (place, masks) in &self.columns {
            let Some(relation) = self.snapshot.relation(place.0, place.1) else {
                continue;
            };
            let fresh = sights::fresh(relation, &masks.keys().copied().collect(), self.scope, self.snapshot);
            if !fresh.is_empty() {
                self.fresh.insert(*place, fresh);
            }
        }
    }

    /// The masks of a relation.
    fn of(&self, schema: &str, name: &str) -> Option<&BTreeMap<&'a str, &'a MaskRule>> {
        self.columns.get(&place(self.snapshot.relation(schema, name)?))
    }

    /// The first mask among what is read.
    fn read(&self, schema: &str, name: &str, columns: &Columns) -> Option<&'a MaskRule> {
        let masks = self.of(schema, name)?;
        match columns {
            Columns::Whole => masks.values().next().copied(),
            Columns::Named(named) => named.iter().find_map(|column| masks.get(column.as_str()).copied()),
        }
    }

    /// A touch as the columns it stands for: what takes the place of a relation has exactly its columns.
    pub(super) fn columns_of(&self, touch: &Touch, statement: &Statement) -> Option<Touch> {
        let reads = matches!(touch.class, Class::Select | Class::CopyOut) && self.is_all(touch);
        let same = |other: &Touch| other.schema == touch.schema && other.name == touch.name;
        let directly = statement
            .direct
            .iter()
            .any(|direct| same(direct) && direct.columns == Columns::Whole);
        self.of(&touch.schema, &touch.name).filter(|_| reads && !directly)?;
        let relation = self.snapshot.relation(&touch.schema, &touch.name)?;
        let mut columns = Columns::none();
        let shown = relation.columns.iter().map(String::as_str);
        columns.add(
            &shown
                .filter(|column| !self.is_fresh(relation, column))
                .collect::<Vec<_>>(),
        );
        Some(Touch {
            columns,
            ..touch.clone()
        })
    }

    /// The relation as a whole, or every column of it: `*` is read as all of them.
    fn is_all(&self, touch: &Touch) -> bool {
        let relation = || self.snapshot.relation(&touch.schema, &touch.name);
        match &touch.columns {
            Columns::Whole => true,
            Columns::Named(named) => {
                relation().is_some_and(|all| all.columns.iter().all(|column| named.contains(column)))
            }
        }
    }

    /// What stands for what, or why the statement is refused. The rest of the statement has been judged.
    pub(super) fn judge(&self, statement: &Statement) -> Result<Replaced, Box<Denial>> {
        for touch in &statement.touches {
            self.around(touch)?;
            if matches!(touch.class, Class::Select | Class::CopyOut) {
                self.came_later(self.columns_of(touch, statement).as_ref().unwrap_or(touch))?;
            }
        }
        for read in &statement.direct {
            self.came_later(read)?;
        }
        self.past_the_rules(statement)?;
        self.behind_views(statement)?;
        self.off_the_mask(statement)?;
        self.by_partition(statement)?;
        self.moved_dates(statement)?;
        for (schema, name) in &statement.renames {
            if let Some(rule) = self.of(schema, name).and_then(|masks| masks.values().next()) {
                let asked = format!("{} {}", verb(statement.class), reason::name(schema, name));
                let detail = "a mask goes by the names of the table and of the column: another name would take it off";
                let hint = "rename it under a scope that does not mask it, together with the mask in the policy";
                return Err(self.deny(&rule.origin, &asked, detail.to_owned(), hint));
            }
        }
        for read in &statement.direct {
            if let Some(rule) = self.read(&read.schema, &read.name, &read.columns) {
                let asked = format!("{} {} ({})", verb(statement.class), relation(read), rule.column);
                let column = format!("{}.{}", relation(read), rule.column);
                let (detail, hint) = match statement.class {
                    Class::Create | Class::Alter => (
                        format!("{column} is masked, and this has its raw values tried or read: it tells of them"),
                        "run it under a scope that does not mask the column, such as one for migrations",
                    ),
                    _ => (
                        format!(
                            "{column} is masked, and here its raw value would be read: masked values exist only in FROM"
                        ),
                        IN_FROM,
                    ),
                };
                return Err(self.deny(&rule.origin, &asked, detail, hint));
            }
        }
        let mut replacements = Vec::new();
        for source in &statement.sources {
            // Who may read some columns only may not lock the table; its view takes the table's own lock along.
            let locks = source.form == Form::Lock && self.scope.enforcement == Enforcement::Shared;
            if let Some(masks) = self.of(&source.schema, &source.name).filter(|_| !locks) {
                replacements.push(self.stand_in(source, masks, statement)?);
            }
        }
        let shown = self.shown(statement);
        if let Some(first) = shown.first() {
            self.unwritten(first, statement)?;
        }
        let shown = shown.into_iter().map(|shown| shown.column).collect();
        Ok((replacements, shown))
    }

    /// The masked columns that are read in FROM, in the order of the text.
    pub(super) fn shown(&self, statement: &Statement) -> Vec<Shown<'a>> {
        let mut shown = Vec::new();
        for source in &statement.sources {
            for (column, rule) in self.of(&source.schema, &source.name).into_iter().flatten() {
                let is_read = match &source.columns {
                    Columns::Whole => true,
                    Columns::Named(named) => named.iter().any(|name| name == column),
                };
                if is_read {
                    shown.push(Shown {
                        column: format!("{}.{}.{column}", source.schema, source.name),
                        rule,
                        at: source.at,
                    });
                }
            }
        }
        shown
    }

    /// Masked values do not choose the rows that a statement changes, and are not written into a table that is there.
    fn unwritten(&self, read: &Shown<'_>, statement: &Statement) -> Result<(), Box<Denial>> {
        let changed = statement.touches.iter().find(|touch| {
            let changes = matches!(
                touch.class,
                Class::Insert | Class::Update | Class::Delete | Class::Merge
            );
            changes && touch.kind == Kind::Relation
        });
        let Some(changed) = changed else {
            return Ok(());
        };
        let asked = format!("{} {}", verb(changed.class), relation(changed));
        let detail = format!(
            "{} is masked, and is read by a statement that changes {}: masks would be written, or would choose the wrong rows",
            read.column,
            relation(changed)
        );
        let hint = "leave the column out, or make a new table of the masked rows (CREATE TABLE … AS)";
        Err(self.deny(&read.rule.origin, &asked, detail, hint))
    }

    /// What came to a masked relation after its masks is read by nobody until the policy names it; so is what is computed
    /// from a masked column.
    fn came_later(&self, touch: &Touch) -> Result<(), Box<Denial>> {
        let Some((column, from)) = sights::reads_fresh(touch, &self.fresh) else {
            return Ok(());
        };
        let rule = self.read(&touch.schema, &touch.name, &Columns::Whole);
        let origin = rule.map_or(&self.scope.origin, |rule| &rule.origin);
        let asked = format!("{} {} ({column})", verb(touch.class), relation(touch));
        let (detail, hint) = match from {
            None => (
                format!(
                    "{} is masked, and its column {column} came later: it is hidden until the policy says what it is",
                    relation(touch)
                ),
                "name the column, under `columns` of a rule or under `mask`",
            ),
            Some(from) => (
                format!("{column} is computed from {from}, which is masked"),
                "name the column under `mask` as well",
            ),
        };
        Err(self.deny(origin, &asked, detail, hint))
    }

    fn is_fresh(&self, relation: &Relation, column: &str) -> bool {
        self.fresh
            .get(&place(relation))
            .is_some_and(|fresh| fresh.contains_key(column))
    }

    /// A mask that may be meant for what is touched, though it names a table that does not exist: a rule covers this one
    /// only by a glob, and it has a column of that name.
    fn meant(&self, touch: &Touch) -> Option<&'a MaskRule> {
        let reads = matches!(
            touch.class,
            Class::Select | Class::CopyOut | Class::Update | Class::Delete | Class::Merge
        );
        let relation = self.snapshot.relation(&touch.schema, &touch.name)?;
        self.meant_for(relation).filter(|_| reads)
    }

    fn meant_for(&self, relation: &Relation) -> Option<&'a MaskRule> {
        let (schema, name) = place(relation);
        let system = matches!(schema, "pg_catalog" | "information_schema" | TEMPORARY);
        let literal = |table: &RelationPattern| table.pattern.is_literal() && table.covers(schema, name);
        let named = || self.scope.can.iter().any(|rule| rule.tables.iter().any(literal));
        let has = |rule: &&&MaskRule| relation.columns.contains(&rule.column);
        let meant = self.lost.iter().find(has).copied();
        meant.filter(|_| !system && !named())
    }

    /// A view reads what it reads raw.
    pub(super) fn behind_views(&self, statement: &Statement) -> Result<(), Box<Denial>> {
        for implied in &statement.implied {
            let Reached::Touch(touch) = &implied.reached else {
                continue;
            };
            let seen = self.behind(implied, touch);
            let Some(rule) = self.read(&seen.schema, &seen.name, &seen.columns).or_else(|| {
                let key = (touch.schema.as_str(), touch.name.as_str());
                let gone = self.broken.get(&key).copied();
                let gone = gone.or_else(|| self.strayed.get(&key).map(|(rule, _)| *rule));
                gone.or_else(|| {
                    sights::reads_fresh(&seen, &self.fresh)?;
                    self.read(&touch.schema, &touch.name, &Columns::Whole)
                })
            }) else {
                continue;
            };
            let view = implied
                .views
                .first()
                .map_or_else(String::new, |(schema, name)| reason::name(schema, name));
            let asked = format!("{} {view}", verb(implied.class));
            let detail = format!(
                "{view} reads {}.{}, which is masked, as it is",
                relation(touch),
                rule.column
            );
            let hint = format!("read {} itself: its columns are masked then", relation(touch));
            return Err(self.deny(&rule.origin, &asked, detail, &hint));
        }
        Ok(())
    }

    /// What a view reads of what is behind it. One that is written through chooses its rows by that, and no more.
    fn behind(&self, implied: &Implied, touch: &Touch) -> Touch {
        let writes = matches!(
            implied.class,
            Class::Insert | Class::Update | Class::Delete | Class::Merge
        );
        let view = implied.views.last().filter(|_| writes);
        let mut seen = touch.clone();
        if let Some(view) = view.and_then(|(schema, name)| self.snapshot.relation(schema, name)) {
            seen.columns = Columns::none();
            let reads = view.attached.reads.iter();
            for read in reads.filter(|read| read.schema == touch.schema && read.name == touch.name) {
                match &read.columns {
                    None => seen.columns = Columns::Whole,
                    Some(columns) => seen
                        .columns
                        .add(&columns.iter().map(String::as_str).collect::<Vec<_>>()),
                }
            }
        }
        seen
    }

    fn stand_in(
        &self,
        source: &Source,
        masks: &BTreeMap<&'a str, &'a MaskRule>,
        statement: &Statement,
    ) -> Result<Replacement, Box<Denial>> {
        let line = masks.values().next().map_or(&self.scope.origin, |rule| &rule.origin);
        let shown = reason::name(&source.schema, &source.name);
        let asked = format!("{} {shown}", verb(statement.class));
        if let Some(why) = &source.bound {
            let detail = format!("columns of {shown} are masked, and {why}");
            let hint = "leave that out, or use a scope that does not mask the table";
            return Err(self.deny(line, &asked, detail, hint));
        }
        let relation = self.snapshot.relation(&source.schema, &source.name);
        let Some(relation) = relation.filter(|relation| relation.facts.len() == relation.columns.len()) else {
            let detail = format!("the types of {shown} are not known");
            return Err(self.deny(line, &asked, detail, "try again"));
        };
        let stand = self.stand(source, relation, masks).map_err(|(rule, why)| {
            let place = rule.map_or(line, |rule| &rule.origin);
            self.deny(place, &asked, why, "choose another mask in the policy")
        })?;
        let mut source = source.clone();
        let start = statement.span.start;
        source.at = source.at.saturating_sub(start);
        for place in &mut source.qualified {
            *place = place.saturating_sub(start);
        }
        let mut grouped = Vec::new();
        if let Some(grouping) = &mut source.grouping {
            grouping.at = grouping.at.saturating_sub(start);
            let read = |column: &String| match &source.columns {
                _ if self.is_fresh(relation, column) => false,
                Columns::Whole => true,
                Columns::Named(named) => named.contains(column),
            };
            let others = grouping.columns.iter().filter(|(column, _)| read(column));
            grouped = others.map(|(_, seen)| seen.clone()).collect();
        }
        Ok(Replacement { source, stand, grouped })
    }

    /// The rows that the scope may see: every one of `columns` in its place; what is out of reach is NULL.
    fn rows(
        &self,
        class: Class,
        only: bool,
        relation: &Relation,
        masks: &BTreeMap<&'a str, &'a MaskRule>,
        columns: &[&str],
    ) -> Result<String, Unfitting<'a>> {
        let covered = |column: &str| covers_column(class, relation, column, self.scope);
        let plain = |column: &str| covered(column) && !masks.contains_key(column);
        let inner = |column: &str| format!("{INNER}.{}", identifier(column));
        let key: Vec<String> = relation
            .key
            .iter()
            .filter(|column| plain(column))
            .map(|column| inner(column))
            .collect();
        // A part of the key chooses less well, and never by what is masked.
        let key = if key.len() == relation.key.len() {
            key
        } else {
            Vec::new()
        };
        // Dates of two tables whose rows have the same key do not move alike: those of one may be known.
        let key_of = |rule: &MaskRule| {
            let shifts = matches!(rule.mask, Mask::DateShift { .. }) && !key.is_empty();
            let table = literal(&format!("{}.{}", rule.schema, rule.table)) + "::pg_catalog.text";
            let table = shifts.then_some(table).into_iter();
            table.chain(key.iter().cloned()).collect::<Vec<_>>()
        };
        let column = |name: &str, fact: &crate::sql::snapshot::ColumnFact| {
            let raw = inner(name);
            let value = match masks.get(name) {
                _ if !covered(name) => Mask::Nullify
                    .expression(&raw, &fact.of, &key)
                    .map_err(|unfit| (None, unfit)),
                Some(rule) => match self.scope.enforcement {
                    Enforcement::Role => rule.mask.expression_with_key(&raw, &fact.of, &key_of(rule)),
                    Enforcement::Shared => rule.mask.expression(&raw, &fact.of, &key_of(rule)),
                }
                .map_err(|unfit| (Some(*rule), unfit)),
                None => Ok(raw.clone()),
            };
            let value = value.map_err(|(rule, unfit)| (rule, unfit.to_string()))?;
            Ok(format!("{value} AS {}", identifier(name)))
        };
        let mut list = Vec::new();
        for name in columns {
            let known = relation.columns.iter().zip(&relation.facts);
            for (name, fact) in known.filter(|(known, _)| known == name) {
                if !self.is_fresh(relation, name) {
                    list.push(column(name, fact)?);
                }
            }
        }
        let only = if only { "ONLY " } else { "" };
        Ok(format!(
            "SELECT {} FROM {only}{} AS {INNER}",
            list.join(", "),
            qualified(&relation.schema, &relation.name)
        ))
    }

    fn deny(&self, origin: &Origin, asked: &str, detail: String, hint: &str) -> Box<Denial> {
        reason::deny("masked", origin.clone(), self.scope, asked, detail, hint)
    }
}

/// The refusal of a statement that could not be edited.
pub(super) fn not_spliced(
    statement: &Statement,
    fault: &SpliceFault,
    (scope, snapshot): (&Scope, &Snapshot),
    masked: Option<&Masked<'_>>,
) -> Box<Denial> {
    if let SpliceFault::Value(why) = fault {
        return given::refused(statement, why, (scope, snapshot), masked);
    }
    let origin = scope.masks.first().map_or(&scope.origin, |rule| &rule.origin);
    let asked = format!("{} of a masked table", verb(statement.class));
    let hint = "write the table's name plainly, and columns without its schema";
    reason::deny("masked", origin.clone(), scope, &asked, fault.to_string(), hint)
}

/// The columns, by OID of the relation and number of the column, of which no raw value may come back.
pub fn raw_columns(scope: &Scope, snapshot: &Snapshot) -> BTreeSet<(u32, i16)> {
    let masked = Masked::new(scope, snapshot);
    let mut raw = BTreeSet::new();
    for ((schema, name), masks) in &masked.columns {
        let Some(relation) = snapshot.relation(schema, name) else {
            continue;
        };
        let facts = relation.columns.iter().zip(&relation.facts);
        for (_, fact) in facts.filter(|(column, _)| masks.contains_key(column.as_str())) {
            raw.insert((relation.oid, fact.number));
        }
    }
    raw
}

fn place(relation: &Relation) -> (&str, &str) {
    (&relation.schema, &relation.name)
}

/// The relation, what it inherits from, and what inherits from it.
pub fn family<'a>(own: &'a Relation, snapshot: &'a Snapshot) -> Vec<&'a Relation> {
    let mut family = vec![own];
    family.extend(snapshot.ancestors(own));
    let mut below = vec![own];
    let mut at = 0;
    while let Some(parent) = below.get(at).copied() {
        at += 1;
        for child in snapshot.relations.values().flat_map(BTreeMap::values) {
            let inherits = child
                .parents
                .iter()
                .any(|(schema, name)| *schema == parent.schema && *name == parent.name);
            if inherits && !below.iter().any(|known| known.oid == child.oid) {
                below.push(child);
            }
        }
    }
    family.extend(below.into_iter().skip(1));
    family
}
