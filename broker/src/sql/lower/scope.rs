//! What a name in an expression can mean: the FROM items of this query and of the queries around it.

use std::borrow::Cow;
use std::rc::Rc;

use super::{KEPT, MAX_COLUMNS, Walk};
use crate::sql::Relation;

/// Columns every table has without listing them.
pub(super) const SYSTEM_COLUMNS: &[&str] = &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// One name in FROM.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    /// The alias, or the relation's own name.
    pub(super) name: Cow<'a, str>,
    /// The schema, when the relation can also be named with it (it has no alias).
    pub(super) schema: Option<&'a str>,
    /// The relations whose rows this item's row is made of, with the sources they come through: one for a table, several
    /// for a join under an alias, none for what was read inside (sub-queries, CTEs) or comes from nowhere (functions,
    /// VALUES).
    pub(super) relations: Vec<(&'a Relation, Option<usize>)>,
    /// The columns it shows.
    pub(super) columns: Vec<Column<'a>>,
    /// Its columns are not all known: a name that is not listed may still be one.
    pub(super) open: bool,
    /// What a locking clause on this item locks.
    pub(super) locks: Vec<&'a Relation>,
    /// It is what the statement updates or deletes from.
    pub(super) target: bool,
    /// It is the row that was to be inserted.
    pub(super) proposed: bool,
}

/// One visible column.
#[derive(Debug, Clone)]
pub(super) struct Column<'a> {
    /// The name it is seen under.
    pub(super) name: Cow<'a, str>,
    /// The column of a relation it stands for; `None` when reading it reads nothing new.
    pub(super) base: Option<Base<'a>>,
}

/// A column of a relation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base<'a> {
    pub(super) relation: &'a Relation,
    pub(super) name: &'a str,
    /// The source it is read through; `None` where nothing can stand for the relation.
    pub(super) source: Option<usize>,
}

/// The FROM scope of one query.
#[derive(Debug, Default)]
pub(super) struct Level<'a> {
    pub(super) items: Vec<Rc<Item<'a>>>,
    /// What looking at every item and column costs.
    cost: usize,
    /// Only items from here on are visible: inside ON only the two sides of the join are.
    pub(super) from: usize,
    /// Nothing of this level is visible: inside a FROM sub-query without LATERAL.
    pub(super) hidden: bool,
    /// A join merges columns (USING, NATURAL): the order of `*` is not known.
    pub(super) merged: bool,
}

impl<'a> Level<'a> {
    fn visible(&self) -> &[Rc<Item<'a>>] {
        if self.hidden {
            &[]
        } else {
            self.items.get(self.from..).unwrap_or_default()
        }
    }
}

/// One common table expression.
#[derive(Debug, Clone)]
pub(super) struct Cte {
    pub(super) name: String,
    pub(super) output: Output,
}

/// The columns a query returns.
#[derive(Debug, Clone, Default)]
pub(super) struct Output {
    pub(super) names: Vec<String>,
    /// There may be more, under names that are not known.
    pub(super) open: bool,
}

impl Output {
    /// A query of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self {
            names: Vec::new(),
            open: true,
        }
    }

    /// Columns by name.
    pub(super) fn columns<'a>(&self) -> Vec<Column<'a>> {
        self.names
            .iter()
            .map(|name| Column {
                name: Cow::Owned(name.clone()),
                base: None,
            })
            .collect()
    }

    /// Puts the names of a column list over the first columns.
    pub(super) fn rename(&mut self, names: &[&str]) {
        for (at, name) in names.iter().enumerate() {
            match self.names.get_mut(at) {
                Some(slot) => (*name).clone_into(slot),
                None => self.names.push((*name).to_owned()),
            }
        }
    }
}

impl<'a> Item<'a> {
    /// A relation of the snapshot under its own name or an alias.
    pub(super) fn relation(relation: &'a Relation, alias: Option<&'a str>) -> Self {
        let columns = relation
            .columns
            .iter()
            .map(|name| Column {
                name: Cow::Borrowed(name),
                base: Some(Base {
                    relation,
                    name,
                    source: None,
                }),
            })
            .collect();
        Self {
            name: Cow::Borrowed(alias.unwrap_or(&relation.name)),
            schema: if alias.is_some() { None } else { Some(&relation.schema) },
            relations: vec![(relation, None)],
            columns,
            open: false,
            locks: vec![relation],
            target: false,
            proposed: false,
        }
    }

    /// Something whose columns were read where they came from, or come from nowhere.
    pub(super) fn computed(name: &str, output: &Output) -> Self {
        Self {
            name: Cow::Owned(name.to_owned()),
            schema: None,
            relations: Vec::new(),
            columns: output.columns(),
            open: output.open,
            locks: Vec::new(),
            target: false,
            proposed: false,
        }
    }

    /// Puts the names of a column list over the first columns.
    pub(super) fn rename(&mut self, names: &[&str]) {
        for (at, name) in names.iter().enumerate() {
            match self.columns.get_mut(at) {
                Some(column) => column.name = Cow::Owned((*name).to_owned()),
                None => self.columns.push(Column {
                    name: Cow::Owned((*name).to_owned()),
                    base: None,
                }),
            }
        }
    }

    /// The columns that `name` can mean here: several under a join's alias.
    pub(super) fn find(&self, name: &str) -> Vec<Column<'a>> {
        let listed: Vec<Column<'a>> = self
            .columns
            .iter()
            .filter(|column| column.name == name)
            .cloned()
            .collect();
        if listed.is_empty()
            && let [(relation, source)] = self.relations.as_slice()
            && let Some(system) = SYSTEM_COLUMNS.iter().find(|system| **system == name)
        {
            return vec![Column {
                name: Cow::Borrowed(system),
                base: Some(Base {
                    relation,
                    name: system,
                    source: *source,
                }),
            }];
        }
        listed
    }
}

impl<'a> Walk<'a> {
    /// Runs `work` inside a new, empty FROM scope.
    pub(super) fn in_level<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.levels.push(Level::default());
        let done = work(self);
        self.levels.pop();
        done
    }

    /// Adds an item to the innermost scope.
    pub(super) fn add_item(&mut self, item: Item<'a>) {
        let cost = 1 + item.columns.len();
        if self.pays(cost * KEPT)
            && let Some(level) = self.levels.last_mut()
        {
            level.cost += cost;
            level.items.push(Rc::new(item));
        }
    }

    /// Pays for one look at everything in scope.
    fn pays_for_a_look(&mut self) -> bool {
        let cost = self.levels.iter().map(|level| level.cost + 1).sum();
        self.pays(cost)
    }

    /// The items of the innermost scope.
    pub(super) fn items(&self) -> &[Rc<Item<'a>>] {
        self.levels.last().map_or(&[], |level| level.items.as_slice())
    }

    fn read_column(&mut self, column: &Column<'a>) {
        if let Some(base) = column.base {
            self.read_base(base);
        }
    }

    fn read_columns(&mut self, columns: &[Column<'a>]) {
        for column in columns {
            self.read_column(column);
        }
    }

    /// Reads an item's row as one value.
    fn read_whole(&mut self, item: &Item<'a>) {
        self.target_reads += usize::from(item.target);
        self.takes(item, None);
        for (relation, source) in &item.relations {
            self.read_row(relation, *source);
        }
    }

    /// `x`: a column of the nearest scope that has one, else a whole row.
    pub(super) fn plain_name(&mut self, name: &str) {
        if !self.pays_for_a_look() {
            return;
        }
        let mut found = Vec::new();
        let (mut maybe, mut target) = (false, false);
        for level in self.levels.iter().rev() {
            let mut certain = false;
            for item in level.visible() {
                let here = item.find(name);
                certain |= !here.is_empty() && !item.open;
                maybe |= item.open;
                target |= item.target && !here.is_empty();
                found.extend(here);
            }
            // Where columns are not all known, the name may be one of them or belong further out: both count.
            if certain {
                break;
            }
        }
        if !found.is_empty() {
            self.target_reads += usize::from(target);
            self.read_columns(&found);
            return;
        }
        let whole = self
            .levels
            .iter()
            .rev()
            .find_map(|level| level.visible().iter().find(|item| item.name == name))
            .cloned();
        match whole {
            Some(item) => self.read_whole(&item),
            None if maybe => {}
            None => self.opaque(format!("column {name:?} belongs to nothing in FROM")),
        }
    }

    /// True when `name` is a column of the innermost scope.
    pub(super) fn is_local_column(&mut self, name: &str) -> bool {
        self.pays_for_a_look()
            && self
                .levels
                .last()
                .is_some_and(|level| level.visible().iter().any(|item| !item.find(name).is_empty()))
    }

    /// True when `name` is a column of any scope.
    fn is_column(&mut self, name: &str) -> bool {
        self.pays_for_a_look()
            && self
                .levels
                .iter()
                .any(|level| level.visible().iter().any(|item| !item.find(name).is_empty()))
    }

    /// The nearest item that `[schema.]name` means.
    pub(super) fn item(&mut self, schema: Option<&str>, name: &str) -> Option<Rc<Item<'a>>> {
        if !self.pays_for_a_look() {
            return None;
        }
        let fits = |item: &&Rc<Item<'a>>| item.name == name && (schema.is_none() || item.schema == schema);
        self.levels
            .iter()
            .rev()
            .find_map(|level| level.visible().iter().find(fits))
            .cloned()
    }

    /// `alias.column` or `schema.table.column`.
    pub(super) fn qualified_name(&mut self, schema: Option<&str>, alias: &str, name: &str) {
        let Some(item) = self.item(schema, alias) else {
            self.opaque(format!("{alias:?} is nothing in FROM"));
            return;
        };
        self.qualifies(schema, alias, &item);
        let found = item.find(name);
        if !found.is_empty() {
            self.target_reads += usize::from(item.target);
            self.takes(&item, Some(name));
            self.read_columns(&found);
        } else if item.open {
            // Either a column that is not known here, or attribute notation, which calls a function.
            self.attribute(name);
        } else {
            self.opaque(format!(
                "{alias:?}.{name:?} is not a column; attribute notation would call a function of that name"
            ));
        }
    }

    /// `alias.*` as a value: the whole row.
    pub(super) fn whole_row(&mut self, schema: Option<&str>, alias: &str) {
        match self.item(schema, alias) {
            Some(item) => {
                self.qualifies(schema, alias, &item);
                self.read_whole(&item);
            }
            None => self.opaque(format!("{alias:?} is nothing in FROM")),
        }
    }

    /// `alias.*` as a list of columns.
    pub(super) fn expand(&mut self, schema: Option<&str>, alias: &str) -> Output {
        if let Some(item) = self.item(schema, alias) {
            self.qualifies(schema, alias, &item);
            return self.expand_items(&[item]);
        }
        self.opaque(format!("{alias:?} is nothing in FROM"));
        Output::unknown()
    }

    /// `*` as a list of columns.
    pub(super) fn expand_all(&mut self) -> Output {
        let items: Vec<Rc<Item<'a>>> = self
            .levels
            .last()
            .map(|level| level.visible().to_vec())
            .unwrap_or_default();
        if items.is_empty() {
            self.opaque("\"*\" without FROM");
        }
        let mut output = self.expand_items(&items);
        output.open |= self.levels.last().is_some_and(|level| level.merged);
        output
    }

    fn expand_items(&mut self, items: &[Rc<Item<'a>>]) -> Output {
        let mut output = Output::default();
        for item in items {
            output.open |= item.open;
            self.takes(item, None);
            if !self.pays(item.columns.len() * KEPT) || output.names.len() + item.columns.len() > MAX_COLUMNS {
                self.opaque("more columns than a result can have");
                break;
            }
            for column in &item.columns {
                self.read_column(column);
                output.names.push(column.name.clone().into_owned());
            }
        }
        output
    }

    /// `(alias).column` and `(alias).*`: true when it was a row of FROM and is dealt with.
    pub(super) fn row_field(&mut self, alias: &str, field: Option<&str>) -> bool {
        if self.is_column(alias) || self.item(None, alias).is_none() {
            return false;
        }
        match field {
            Some(field) => self.qualified_name(None, alias, field),
            None => {
                self.expand(None, alias);
            }
        }
        true
    }
}
