//! Where relations are read through FROM, so that something else can stand for their rows, and what keeps it from
//! standing there.

use super::Walk;
use super::names::{string, strings};
use super::scope::{Base, Item, SYSTEM_COLUMNS};
use super::{label, literal};
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, Node};
use crate::sql::source::{Form, Grouping, Source};
use crate::sql::{Class, Columns, Kind, Relation, RelationKind};

impl<'a> Walk<'a> {
    /// `range` is read in FROM: everything that `item` shows comes through it.
    pub(super) fn reads_through(&mut self, range: &nodes::RangeVar, relation: &'a Relation, item: &mut Item<'a>) {
        if !self.replaceable {
            self.touch(Class::Select, &relation.schema, &relation.name, []);
            return;
        }
        let source = self.sources.len();
        self.sources.push(Source {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            at: place(range.location),
            shown: item.name.clone().into_owned(),
            aliased: range.alias.is_some(),
            only: !range.inh,
            form: Form::From,
            columns: Columns::none(),
            bound: None,
            qualified: Vec::new(),
            grouping: None,
        });
        for (_, through) in &mut item.relations {
            *through = Some(source);
        }
        for base in item.columns.iter_mut().filter_map(|column| column.base.as_mut()) {
            base.source = Some(source);
        }
        self.read(relation, Some(source), Some(&[]));
    }

    /// COPY … TO reads the table itself, without what inherits from it.
    pub(super) fn copies_from(&mut self, range: &nodes::RangeVar, relation: &Relation, columns: &[&str]) {
        let mut read = Columns::none();
        let all: Vec<&str> = relation.columns.iter().map(String::as_str).collect();
        read.add(if columns.is_empty() { &all } else { columns });
        let form = Form::Copy(columns.iter().map(|column| (*column).to_owned()).collect());
        let only = relation.kind == RelationKind::Table;
        self.stands_alone(range, relation, form, only, read);
    }

    /// LOCK … IN ACCESS SHARE MODE of a table: no column is read.
    pub(super) fn locks(&mut self, range: &nodes::RangeVar, relation: &Relation) {
        self.stands_alone(range, relation, Form::Lock, !range.inh, Columns::none());
    }

    /// A relation that a statement names outside of any query.
    fn stands_alone(&mut self, range: &nodes::RangeVar, relation: &Relation, form: Form, only: bool, columns: Columns) {
        self.sources.push(Source {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            at: place(range.location),
            shown: relation.name.clone(),
            aliased: false,
            only,
            form,
            columns,
            bound: None,
            qualified: Vec::new(),
            grouping: None,
        });
    }

    /// A column is read.
    pub(super) fn read_base(&mut self, base: Base<'a>) {
        let Base { relation, name, source } = base;
        self.read(relation, source, Some(&[name]));
        if SYSTEM_COLUMNS.contains(&name) && !relation.columns.iter().any(|column| column == name) {
            self.binds(source, "system columns belong to the table's own rows");
        }
    }

    /// A whole row is read.
    pub(super) fn read_row(&mut self, relation: &'a Relation, source: Option<usize>) {
        self.read(relation, source, None);
    }

    fn read(&mut self, relation: &Relation, source: Option<usize>, columns: Option<&[&str]>) {
        let (schema, name) = (&relation.schema, &relation.name);
        let Some(source) = source.and_then(|source| self.sources.get_mut(source)) else {
            match columns {
                Some(columns) => self.touch(Class::Select, schema, name, columns.iter().copied()),
                None => self.touch_relation(Class::Select, relation),
            }
            return;
        };
        let touched = self
            .touches
            .entry((Class::Select, Kind::Relation, schema.clone(), name.clone()))
            .or_insert_with(Columns::none);
        for read in [touched, &mut source.columns] {
            match columns {
                Some(columns) => read.add(columns),
                None => *read = Columns::Whole,
            }
        }
    }

    /// Nothing else can stand at the sources from `first` on.
    pub(super) fn binds_sources(&mut self, first: usize, why: &str) {
        for source in first..self.sources.len() {
            self.binds(Some(source), why);
        }
    }

    /// Nothing else can stand for `relation`.
    pub(super) fn binds_relation(&mut self, relation: &Relation, why: &str) {
        let same = |source: &Source| source.schema == relation.schema && source.name == relation.name;
        let all = 0..self.sources.len();
        for source in all
            .filter(|at| self.sources.get(*at).is_some_and(same))
            .collect::<Vec<_>>()
        {
            self.binds(Some(source), why);
        }
    }

    fn binds(&mut self, source: Option<usize>, why: &str) {
        if let Some(source) = source.and_then(|source| self.sources.get_mut(source)) {
            source.bound.get_or_insert_with(|| why.to_owned());
        }
    }

    /// The column reference at `location` is resolved next.
    pub(super) fn stands_at(&mut self, location: i32) {
        self.here = place(location);
    }

    /// A column reference names its table together with the schema: what stands for the table has no schema.
    pub(super) fn qualifies(&mut self, schema: Option<&str>, alias: &str, item: &Item<'a>) {
        let (Some(_), [(_, Some(source))]) = (schema, item.relations.as_slice()) else {
            return;
        };
        let without = self.item(None, alias);
        let is_same = without.is_some_and(|found| {
            matches!(found.relations.as_slice(), [(_, Some(same))] if same == source) && found.schema.is_some()
        });
        if !is_same {
            self.binds(Some(*source), "its name without the schema means another table here");
        }
        let here = self.here;
        if let Some(source) = self.sources.get_mut(*source) {
            source.qualified.push(here);
        }
    }

    /// GROUP BY over a primary key: the other columns of its table need not be listed. What is nulled in some of the
    /// grouping sets has to stay there only.
    pub(super) fn group_by_keys(&mut self, list: &[Node], targets: &[Node]) {
        let mut named = Vec::new();
        let mut nulled = Vec::new();
        for node in list {
            match &node.node {
                Some(NodeEnum::GroupingSet(set)) => self.in_grouping_set(set, targets, &mut nulled),
                _ => named.extend(self.grouped_column(node, targets)),
            }
        }
        let items = self.items().to_vec();
        let cost: usize = items.iter().map(|item| item.columns.len() + 1).sum();
        if named.is_empty() || !self.pays(cost * named.len()) {
            return;
        }
        for item in items {
            let [(relation, Some(source))] = item.relations.as_slice() else {
                continue;
            };
            let means = |path: &[&str], seen: &str| match path {
                [name] => *name == seen,
                [.., alias, name] => *alias == item.name && *name == seen,
                [] => false,
            };
            let seen = |base: &str| {
                let shows = |column: &&super::scope::Column<'a>| column.base.is_some_and(|of| of.name == base);
                item.columns.iter().find(shows).map(|column| column.name.as_ref())
            };
            let mut at = None;
            let grouped = relation.key.iter().all(|key| {
                let found = seen(key).and_then(|seen| named.iter().find(|(path, _)| means(path, seen)));
                at = at.or(found.map(|(_, at)| *at));
                found.is_some()
            });
            if let (true, Some(at), Some(source)) = (grouped, at, self.sources.get_mut(*source)) {
                let others = item.columns.iter().filter_map(|column| {
                    let is_key = |base: &Base<'_>| relation.key.iter().any(|key| key == base.name);
                    let base = column.base.filter(|base| !is_key(base))?;
                    if nulled.iter().any(|path| means(path, &column.name)) {
                        return None;
                    }
                    Some((base.name.to_owned(), column.name.clone().into_owned()))
                });
                source.grouping = Some(Grouping {
                    at,
                    columns: others.collect(),
                });
            }
        }
    }

    /// The column that one item of GROUP BY stands for, and where the item begins: by itself, by the position of a
    /// target, or by the name that a target is given.
    fn grouped_column<'n>(&mut self, node: &'n Node, targets: &'n [Node]) -> Option<(Vec<&'n str>, usize)> {
        if let Some((path, at)) = plain_reference(node) {
            let [name] = path.as_slice() else {
                return Some((path, at));
            };
            if self.items().iter().any(|item| item.open) || self.is_local_column(name) {
                return Some((path, at));
            }
            let given = |target: &&nodes::ResTarget| label::of(target).is_some_and(|label| label == *name);
            let target = targets.iter().filter_map(target).find(given)?;
            return Some((plain_reference(target.val.as_deref()?)?.0, at));
        }
        let (position, at) = literal::position(node)?;
        let before = targets.get(..position)?;
        if before
            .iter()
            .filter_map(target)
            .filter_map(|target| target.val.as_deref())
            .any(label::is_star)
        {
            return None;
        }
        let value = before.last().and_then(target)?.val.as_deref()?;
        Some((plain_reference(value)?.0, place(at)))
    }

    fn in_grouping_set<'n>(&mut self, set: &'n nodes::GroupingSet, targets: &'n [Node], found: &mut Vec<Vec<&'n str>>) {
        for node in &set.content {
            match &node.node {
                Some(NodeEnum::GroupingSet(set)) => self.in_grouping_set(set, targets, found),
                Some(NodeEnum::RowExpr(row)) => {
                    for one in &row.args {
                        found.extend(self.grouped_column(one, targets).map(|(path, _)| path));
                    }
                }
                _ => found.extend(self.grouped_column(node, targets).map(|(path, _)| path)),
            }
        }
    }

    /// A relation, or one of its columns, gets another name.
    pub(super) fn renames(&mut self, relation: Option<&Relation>) {
        if let Some(relation) = relation {
            self.renames.push((relation.schema.clone(), relation.name.clone()));
        }
    }
}

/// A position of the tree as bytes of the text.
fn place(location: i32) -> usize {
    usize::try_from(location).unwrap_or(usize::MAX)
}

fn target(node: &Node) -> Option<&nodes::ResTarget> {
    match &node.node {
        Some(NodeEnum::ResTarget(target)) => Some(target),
        _ => None,
    }
}

/// A column reference that stands by itself, and where.
fn plain_reference(node: &Node) -> Option<(Vec<&str>, usize)> {
    match &node.node {
        Some(NodeEnum::ColumnRef(nodes::ColumnRef { fields, location })) => {
            fields.last().and_then(string)?;
            Some((strings(fields)?, place(*location)))
        }
        _ => None,
    }
}
