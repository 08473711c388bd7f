//! INSERT, UPDATE, DELETE, TRUNCATE and COPY. A target is always a relation, never a CTE; what a statement reads of its
//! target counts as a read besides.

use super::Walk;
use super::attached::Written;
use super::names::{Range, alias, option, string, strings};
use super::scope::{Column, Item, Output};
use crate::mask::Category;
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, DropBehavior, Node, OnConflictAction};
use crate::sql::{Class, Columns, Copied, Holds, Kind, Proposed, Relation, RelationKind, TEMPORARY};

impl<'a> Walk<'a> {
    /// The target of a statement, and the item under which the statement sees it.
    pub(super) fn dml_target(&mut self, range: Option<&nodes::RangeVar>) -> Option<(&'a Relation, Item<'a>)> {
        let Range {
            schema,
            name,
            alias: given,
        } = self.range(range)?;
        let relation = self.relation(schema, name)?;
        if relation.schema == TEMPORARY && relation.kind == RelationKind::View {
            // It was judged as what it reads; through it the session would write.
            self.opaque("writing through a temporary view");
        }
        let mut item = Item::relation(relation, None);
        let (shown, columns) = alias(given);
        if let Some(shown) = shown {
            item.name = shown.to_owned().into();
            item.schema = None;
        }
        item.rename(&columns);
        item.target = true;
        Some((relation, item))
    }

    pub(super) fn insert(&mut self, insert: &nodes::InsertStmt) -> Output {
        let nodes::InsertStmt {
            relation,
            cols,
            select_stmt,
            on_conflict_clause,
            returning_clause,
            with_clause,
            r#override: _,
        } = insert;
        self.changes();
        let outer = self.ctes.len();
        self.with(with_clause.as_ref());
        let target = self.dml_target(relation.as_ref());
        let mut given = Vec::new();
        if let Some((relation, _)) = &target {
            let columns = self.target_columns(cols, relation);
            let source = select_stmt.as_deref();
            given = if columns.is_empty() {
                relation
                    .columns
                    .iter()
                    .take(width(source))
                    .map(String::as_str)
                    .collect()
            } else {
                columns.clone()
            };
            self.writes(relation, Class::Insert, &Written::Inserted(&given, source));
            let all = relation.columns.iter().map(String::as_str);
            if columns.is_empty() {
                self.touch(Class::Insert, &relation.schema, &relation.name, all);
            } else {
                self.touch(Class::Insert, &relation.schema, &relation.name, columns);
            }
        }
        // The source does not see the target.
        if let Some(query) = select_stmt {
            self.query(query);
        }
        let output = self.in_level(|walk| {
            if let Some((relation, item)) = target {
                walk.add_item(item);
                if let Some(clause) = on_conflict_clause {
                    // A query without a list of columns may give all of them.
                    let all = || relation.columns.iter().map(String::as_str).collect();
                    let given = if given.is_empty() { all() } else { given };
                    walk.on_conflict(clause, relation, &given);
                }
            }
            walk.returning(returning_clause.as_ref())
        });
        self.ctes.truncate(outer);
        output
    }

    /// The columns that a column list or a SET list names, after looking at what else stands in it.
    pub(super) fn target_columns<'t>(&mut self, list: &'t [Node], relation: &Relation) -> Vec<&'t str> {
        let mut names = Vec::new();
        for node in list {
            let Some(NodeEnum::ResTarget(target)) = &node.node else {
                self.opaque("a target column of an unknown kind");
                continue;
            };
            let nodes::ResTarget {
                name,
                indirection,
                val,
                location: _,
            } = &**target;
            if !relation.columns.iter().any(|column| column == name) {
                self.opaque(format!("{name:?} is not a column of \"{}\"", relation.name));
            }
            self.subscripts(indirection);
            self.maybe(val.as_deref());
            names.push(name.as_str());
        }
        names
    }

    fn on_conflict(&mut self, clause: &nodes::OnConflictClause, relation: &'a Relation, given: &[&str]) {
        let nodes::OnConflictClause {
            action,
            infer,
            target_list,
            where_clause,
            location: _,
        } = clause;
        let mut arbiters = None;
        if let Some(infer) = infer {
            let nodes::InferClause {
                index_elems,
                where_clause,
                conname,
                location: _,
            } = &**infer;
            self.index_elements(index_elems, true);
            if !conname.is_empty() {
                self.arbiter(conname, relation);
            }
            self.maybe(where_clause.as_deref());
            arbiters = match (conname.as_str(), where_clause) {
                ("", None) => index_elems.iter().map(plain_element).collect(),
                ("", Some(_)) => None,
                (name, _) => self.index_of(name, relation).map(|index| index.key.clone()),
            };
        }
        match OnConflictAction::try_from(*action) {
            Ok(OnConflictAction::OnconflictNothing) => {}
            Ok(OnConflictAction::OnconflictUpdate) => {
                // `excluded` is the row that was to be inserted: reading it reads nothing of the table.
                let mut excluded = Item::relation(relation, Some("excluded"));
                excluded.relations.clear();
                excluded.columns = relation
                    .columns
                    .iter()
                    .map(|name| Column {
                        name: name.into(),
                        base: None,
                    })
                    .collect();
                excluded.proposed = true;
                self.add_item(excluded);
                self.proposed.push(Proposed {
                    schema: relation.schema.clone(),
                    name: relation.name.clone(),
                    given: given.iter().map(|&column| column.to_owned()).collect(),
                    arbiters,
                    taken: Vec::new(),
                    whole: false,
                });
                let columns = self.target_columns(target_list, relation);
                self.writes(relation, Class::Update, &Written::Updated(&columns, target_list));
                self.touch(Class::Update, &relation.schema, &relation.name, columns);
                self.condition(where_clause.as_deref());
                self.takes_plainly(target_list);
                if let Some(level) = self.levels.last_mut() {
                    level.items.pop();
                }
            }
            _ => self.opaque("ON CONFLICT of an unknown kind"),
        }
    }

    /// Something of the row that was to be inserted is read: a column, or all of it.
    pub(super) fn takes(&mut self, item: &Item<'a>, column: Option<&str>) {
        if let Some(proposed) = self.proposed.last_mut().filter(|_| item.proposed) {
            match column {
                Some(column) => proposed.taken.push((column.to_owned(), None)),
                None => proposed.whole = true,
            }
        }
    }

    /// Which of what was taken stands alone on the right of `=` in SET.
    fn takes_plainly(&mut self, targets: &[Node]) {
        let Some(proposed) = self.proposed.last_mut() else {
            return;
        };
        for target in targets {
            let Some(NodeEnum::ResTarget(target)) = &target.node else {
                continue;
            };
            if let Some(NodeEnum::ColumnRef(nodes::ColumnRef { fields, location })) =
                target.val.as_ref().and_then(|value| value.node.as_ref())
                && let Some(["excluded", name]) = strings(fields).as_deref()
                && let Some(taken) = proposed
                    .taken
                    .iter_mut()
                    .find(|(taken, at)| taken == name && at.is_none())
            {
                taken.1 = usize::try_from(*location).ok();
            }
        }
    }

    /// ON CONFLICT ON CONSTRAINT looks at what the constraint's index is made of, as if the columns were listed.
    fn arbiter(&mut self, constraint: &str, relation: &Relation) {
        match self.index_of(constraint, relation) {
            Some(index) => {
                let columns = index.key.iter().map(String::as_str);
                self.touch(Class::Select, &relation.schema, &relation.name, columns);
            }
            None => self.opaque(format!("{constraint:?} is no constraint of \"{}\"", relation.name)),
        }
    }

    /// The index of this name on a table: that of a constraint goes by the constraint's name.
    pub(super) fn index_of(&self, name: &str, table: &Relation) -> Option<&'a Relation> {
        let index = self.snapshot.relation(&table.schema, name)?;
        let is_its = |(schema, name): &(String, String)| *schema == table.schema && *name == table.name;
        index.owner_table.as_ref().is_some_and(is_its).then_some(index)
    }

    pub(super) fn returning(&mut self, clause: Option<&nodes::ReturningClause>) -> Output {
        let Some(nodes::ReturningClause { options, exprs }) = clause else {
            return Output::default();
        };
        if !options.is_empty() {
            self.opaque("RETURNING WITH");
        }
        self.targets(exprs)
    }

    pub(super) fn update(&mut self, update: &nodes::UpdateStmt) -> Output {
        let nodes::UpdateStmt {
            relation,
            target_list,
            where_clause,
            from_clause,
            returning_clause,
            with_clause,
        } = update;
        self.changes();
        let outer = self.ctes.len();
        self.with(with_clause.as_ref());
        let target = self.dml_target(relation.as_ref());
        let output = self.in_level(|walk| {
            let Some((relation, item)) = target else {
                return Output::default();
            };
            walk.add_item(item);
            walk.sources(from_clause);
            let columns = walk.target_columns(target_list, relation);
            walk.writes(relation, Class::Update, &Written::Updated(&columns, target_list));
            walk.touch(Class::Update, &relation.schema, &relation.name, columns);
            if !walk.bounding(where_clause.as_deref()) {
                walk.unbounded(Class::Update, relation);
            }
            walk.returning(returning_clause.as_ref())
        });
        self.ctes.truncate(outer);
        output
    }

    pub(super) fn delete(&mut self, delete: &nodes::DeleteStmt) -> Output {
        let nodes::DeleteStmt {
            relation,
            using_clause,
            where_clause,
            returning_clause,
            with_clause,
        } = delete;
        self.changes();
        let outer = self.ctes.len();
        self.with(with_clause.as_ref());
        let target = self.dml_target(relation.as_ref());
        let output = self.in_level(|walk| {
            let Some((relation, item)) = target else {
                return Output::default();
            };
            walk.touch(Class::Delete, &relation.schema, &relation.name, []);
            walk.writes(relation, Class::Delete, &Written::Gone);
            walk.add_item(item);
            walk.sources(using_clause);
            if !walk.bounding(where_clause.as_deref()) {
                walk.unbounded(Class::Delete, relation);
            }
            walk.returning(returning_clause.as_ref())
        });
        self.ctes.truncate(outer);
        output
    }

    pub(super) fn truncate(&mut self, truncate: &nodes::TruncateStmt) {
        let nodes::TruncateStmt {
            relations,
            restart_seqs,
            behavior,
        } = truncate;
        self.class = Class::Truncate;
        self.changes();
        let mut emptied = Vec::new();
        for node in relations {
            match &node.node {
                Some(NodeEnum::RangeVar(range)) => emptied.extend(self.table(Some(range))),
                _ => self.opaque("TRUNCATE of an unknown kind"),
            }
        }
        if DropBehavior::try_from(*behavior) == Ok(DropBehavior::DropCascade) {
            emptied = self.with_pointing(emptied);
        }
        for relation in emptied {
            self.writes(relation, Class::Truncate, &Written::Gone);
            self.touch_relation(Class::Truncate, relation);
        }
        // Sequences start again for their owner only.
        self.by_owner = *restart_seqs;
    }

    pub(super) fn copy(&mut self, copy: &nodes::CopyStmt) {
        let nodes::CopyStmt {
            relation,
            query,
            attlist,
            is_from,
            is_program,
            filename,
            options,
            where_clause,
        } = copy;
        self.class = if *is_from { Class::CopyIn } else { Class::CopyOut };
        if *is_program || !filename.is_empty() {
            self.opaque("COPY with a file or a program of the server");
        }
        self.copy_options(options);
        if self.class == Class::CopyOut {
            self.copies = usual(options).map(|csv| Copied {
                csv,
                columns: Vec::new(),
            });
        }
        match (relation, query) {
            (Some(range), None) => self.copy_table(range, attlist, where_clause.as_deref()),
            (None, Some(query)) => {
                self.query(query);
                // What is read leaves through COPY: both classes have to cover it.
                let read: Vec<_> = self
                    .touches
                    .iter()
                    .filter(|((class, ..), _)| *class == Class::Select)
                    .map(copied)
                    .collect();
                self.touches.extend(read);
            }
            _ => self.opaque("COPY of nothing"),
        }
    }

    fn copy_table(&mut self, range: &nodes::RangeVar, attlist: &[Node], filter: Option<&Node>) {
        let class = self.class;
        if class == Class::CopyIn {
            self.changes();
        }
        let Some((relation, item)) = self.dml_target(Some(range)) else {
            return;
        };
        if class == Class::CopyIn {
            self.writes(relation, class, &Written::Unknown);
        }
        let named = strings(attlist).unwrap_or_default();
        for name in &named {
            if !relation.columns.iter().any(|column| column == name) {
                self.opaque(format!("{name:?} is not a column of \"{}\"", relation.name));
            }
        }
        let all = relation.columns.iter().map(String::as_str);
        if class == Class::CopyOut {
            self.copies_from(range, relation, &named);
            if let Some(copies) = &mut self.copies {
                copies.columns = holds(relation, &named);
            }
        }
        if attlist.is_empty() {
            self.touch(class, &relation.schema, &relation.name, all);
        } else {
            self.touch(class, &relation.schema, &relation.name, named);
        }
        self.in_level(|walk| {
            walk.add_item(item);
            walk.maybe(filter);
        });
    }

    fn copy_options(&mut self, options: &[Node]) {
        for node in options {
            match option(node) {
                Some((
                    "format" | "delimiter" | "null" | "header" | "quote" | "escape" | "force_quote" | "force_not_null"
                    | "force_null" | "freeze" | "on_error" | "reject_limit" | "log_verbosity" | "default",
                    _,
                )) => {}
                // The session is pinned to UTF-8.
                Some(("encoding", name)) if name.and_then(string).is_some_and(is_utf8) => {}
                Some((name, _)) => self.opaque(format!("COPY option {name:?}")),
                None => self.opaque("a COPY option of an unknown kind"),
            }
        }
    }
}

/// The column that an element of ON CONFLICT (…) is, when it is nothing but that.
fn plain_element(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::IndexElem(element)) if element.expr.is_none() => Some(element.name.clone()),
        _ => None,
    }
}

/// How many columns every row of VALUES gives; none where that is not known.
fn width(source: Option<&Node>) -> usize {
    let Some(Some(NodeEnum::SelectStmt(select))) = source.map(|source| &source.node) else {
        return 0;
    };
    let rows = select.values_lists.iter().map(|row| match &row.node {
        Some(NodeEnum::List(nodes::List { items })) => items.len(),
        _ => 0,
    });
    rows.min().unwrap_or(0)
}

/// Whether COPY writes csv; `None` where something else than the format is asked for that changes how rows look.
fn usual(options: &[Node]) -> Option<bool> {
    let mut csv = false;
    for node in options {
        match option(node)? {
            ("format", Some(format)) => csv = string(format)?.eq_ignore_ascii_case("csv"),
            ("header" | "encoding" | "null" | "force_quote", _) => {}
            _ => return None,
        }
    }
    Some(csv)
}

/// What the columns hold that COPY of a table writes: these, or all that are not computed. Empty where it is not known.
fn holds(relation: &Relation, named: &[&str]) -> Vec<Holds> {
    let of = |name: &str| {
        let place = relation.columns.iter().position(|column| column == name)?;
        relation.facts.get(place)
    };
    let columns = relation.columns.iter().map(String::as_str);
    let all: Vec<&str> = columns
        .filter(|name| of(name).is_none_or(|fact| !fact.generated))
        .collect();
    let asked = if named.is_empty() { all.as_slice() } else { named };
    let held = asked.iter().map(|name| {
        of(name).map(|fact| match (fact.of.category, fact.of.name.as_str()) {
            (Category::Json, "jsonb") => Holds::Jsonb,
            (Category::Json, _) => Holds::Json,
            (Category::Text, _) => Holds::Text,
            _ => Holds::Other,
        })
    });
    held.collect::<Option<_>>().unwrap_or_default()
}

fn is_utf8(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode")
}

type Touched = ((Class, Kind, String, String), Columns);

fn copied(((_, kind, schema, name), columns): (&(Class, Kind, String, String), &Columns)) -> Touched {
    ((Class::CopyOut, *kind, schema.clone(), name.clone()), columns.clone())
}
