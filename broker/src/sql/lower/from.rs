//! FROM: tables, sub-queries, functions, samples, joins, with what each of them shows to the rest of the query.

use std::rc::Rc;

use super::names::{Range, alias, string, strings};
use super::scope::{Item, Output};
use super::{Walk, label};
use crate::sql::RelationKind;
use crate::sql::grammar::nodes::{self, Node};
use crate::sql::grammar::{self, NodeEnum};

/// Functions of PostgreSQL that return exactly one column.
const ONE_COLUMN: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_object_keys",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_object_keys",
    "regexp_split_to_table",
    "string_to_table",
];

impl<'a> Walk<'a> {
    /// The FROM list of the innermost scope.
    pub(super) fn sources(&mut self, list: &[Node]) {
        for node in list {
            self.source(node);
        }
    }

    /// One FROM item. Each arm only hands on, so that the frame of this function stays small.
    pub(super) fn source(&mut self, node: &Node) {
        if self.effort == 0 {
            return;
        }
        match &node.node {
            Some(NodeEnum::RangeVar(range)) => self.relation_source(range),
            Some(NodeEnum::RangeSubselect(query)) => self.query_source(query),
            Some(NodeEnum::RangeFunction(function)) => self.function_source(function),
            Some(NodeEnum::RangeTableSample(sample)) => self.sample_source(sample),
            Some(NodeEnum::JoinExpr(join)) => self.join_source(join),
            Some(NodeEnum::RangeTableFunc(table)) => self.xml_table(table),
            Some(NodeEnum::JsonTable(table)) => self.json_table(table),
            Some(other) => self.opaque(format!("{} in FROM", grammar::name(other))),
            None => self.opaque("an empty FROM item"),
        }
    }

    fn relation_source(&mut self, range: &nodes::RangeVar) {
        let Some(Range {
            schema,
            name,
            alias: given,
        }) = self.range(Some(range))
        else {
            return;
        };
        let (shown, columns) = alias(given);
        if !self.pays(self.ctes.len()) {
            return;
        }
        if schema.is_none()
            && let Some(cte) = self.ctes.iter().rev().find(|cte| cte.name == name)
        {
            let mut item = Item::computed(shown.unwrap_or(name), &cte.output);
            item.rename(&columns);
            self.add_item(item);
            return;
        }
        let Some(relation) = self.relation(schema, name) else {
            return;
        };
        match relation.kind {
            RelationKind::Foreign
            | RelationKind::MaterializedView
            | RelationKind::Sequence
            | RelationKind::Table
            | RelationKind::View => {}
            RelationKind::Composite | RelationKind::Index | RelationKind::Toast => {
                self.opaque(format!("{name:?} cannot be read"));
            }
        }
        self.reads.push(relation);
        let mut item = Item::relation(relation, None);
        if let Some(shown) = shown {
            item.name = shown.to_owned().into();
            item.schema = None;
        }
        item.rename(&columns);
        self.reads_through(range, relation, &mut item);
        self.add_item(item);
    }

    fn query_source(&mut self, query: &nodes::RangeSubselect) {
        let nodes::RangeSubselect {
            lateral,
            subquery,
            alias: given,
        } = query;
        let Some(subquery) = subquery else {
            self.opaque("a sub-query without its query");
            return;
        };
        let first_read = self.reads.len();
        let mut output = self.hiding(!lateral, |walk| walk.query(subquery));
        let (shown, columns) = alias(given.as_ref());
        output.rename(&columns);
        let mut item = Item::computed(shown.unwrap_or_default(), &output);
        item.locks = self.reads.get(first_read..).unwrap_or_default().to_vec();
        self.add_item(item);
    }

    /// Runs `work` with the innermost scope out of sight: only LATERAL sees its neighbours.
    fn hiding<T>(&mut self, hide: bool, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self
            .levels
            .last_mut()
            .map(|level| std::mem::replace(&mut level.hidden, hide));
        let done = work(self);
        if let (Some(level), Some(before)) = (self.levels.last_mut(), before) {
            level.hidden = before;
        }
        done
    }

    fn function_source(&mut self, function: &nodes::RangeFunction) {
        let nodes::RangeFunction {
            lateral: _,
            ordinality,
            is_rowsfrom: _,
            functions,
            alias: given,
            coldeflist,
        } = function;
        let (shown, columns) = alias(given.as_ref());
        let mut output = Output::default();
        let mut name = shown.map(str::to_owned);
        for node in functions {
            let Some(NodeEnum::List(nodes::List { items })) = &node.node else {
                self.opaque("a function in FROM of an unknown kind");
                continue;
            };
            let Some((call, definitions)) = items.split_first() else {
                self.opaque("a function in FROM without its call");
                continue;
            };
            // A function sees its neighbours as if it were LATERAL.
            self.expression(call);
            let own = label::of_expression(call).unwrap_or_default();
            let mut defined = Vec::new();
            for definition in definitions {
                match &definition.node {
                    Some(NodeEnum::List(nodes::List { items })) => defined.extend(self.definitions(items)),
                    None => {}
                    Some(_) => self.opaque("a column definition of an unknown kind"),
                }
            }
            defined.extend(self.definitions(coldeflist));
            if defined.is_empty() {
                output.open |= !is_one_column(call);
                // A scalar function's column goes by the alias.
                output.names.push(if functions.len() == 1 {
                    name.clone().unwrap_or(own.clone())
                } else {
                    own.clone()
                });
            } else {
                output.names.extend(defined);
            }
            name.get_or_insert(own);
        }
        if *ordinality {
            output.names.push("ordinality".to_owned());
        }
        output.rename(&columns);
        self.add_item(Item::computed(&name.unwrap_or_default(), &output));
    }

    /// The columns of `AS t(a int, b text)`.
    fn definitions(&mut self, list: &[Node]) -> Vec<String> {
        let mut names = Vec::new();
        for node in list {
            match &node.node {
                Some(NodeEnum::ColumnDef(column)) => {
                    self.type_name(column.type_name.as_ref());
                    names.push(column.colname.clone());
                }
                _ => self.opaque("a column definition of an unknown kind"),
            }
        }
        names
    }

    fn sample_source(&mut self, sample: &nodes::RangeTableSample) {
        let nodes::RangeTableSample {
            relation,
            method,
            args,
            repeatable,
            location: _,
        } = sample;
        let first = self.sources.len();
        match relation {
            Some(relation) => self.source(relation),
            None => self.opaque("TABLESAMPLE without its table"),
        }
        self.binds_sources(first, "TABLESAMPLE takes its rows from the table's own pages");
        if !matches!(
            strings(method).as_deref(),
            Some(["system" | "bernoulli"] | ["pg_catalog", "system" | "bernoulli"])
        ) {
            self.opaque("a sampling method that is not PostgreSQL's own");
        }
        self.expressions(args);
        self.maybe(repeatable.as_deref());
    }

    fn join_source(&mut self, join: &nodes::JoinExpr) {
        let nodes::JoinExpr {
            jointype: _,
            is_natural,
            larg,
            rarg,
            using_clause,
            join_using_alias,
            quals,
            alias: given,
            rtindex: _,
        } = join;
        let (Some(left), Some(right)) = (larg, rarg) else {
            self.opaque("a join without its two sides");
            return;
        };
        let start = self.items().len();
        self.source(left);
        let middle = self.items().len();
        self.source(right);
        let merged = if *is_natural {
            self.common_columns(start, middle)
        } else {
            using(using_clause)
        };
        if !merged.is_empty() || *is_natural {
            self.plain_operator("=");
            self.chooses();
            if let Some(level) = self.levels.last_mut() {
                level.merged = true;
            }
        }
        self.seeing_from(start, |walk| {
            for name in &merged {
                if walk.is_local_column(name) || walk.items().iter().any(|item| item.open) {
                    walk.plain_name(name);
                } else {
                    walk.opaque(format!("column {name:?} of USING belongs to neither side"));
                }
            }
            walk.condition(quals.as_deref());
        });
        if let Some(nodes::Alias { aliasname, colnames: _ }) = join_using_alias {
            let mut item = self.merge_items(start, aliasname);
            item.columns
                .retain(|column| merged.iter().any(|name| *name == column.name));
            item.relations.clear();
            self.add_item(item);
        }
        let (Some(shown), columns) = alias(given.as_ref()) else {
            return;
        };
        if !columns.is_empty() && self.levels.last().is_some_and(|level| level.merged) {
            self.opaque("a column list over a join that merges columns");
        }
        let mut item = self.merge_items(start, shown);
        item.rename(&columns);
        if let Some(level) = self.levels.last_mut() {
            // Under its alias the join hides what it is made of.
            level.items.truncate(start);
        }
        self.add_item(item);
    }

    /// Runs `work` seeing only the items from `start` on: the two sides of a join.
    fn seeing_from(&mut self, start: usize, work: impl FnOnce(&mut Self)) {
        let before = self
            .levels
            .last_mut()
            .map(|level| std::mem::replace(&mut level.from, start));
        work(self);
        if let (Some(level), Some(before)) = (self.levels.last_mut(), before) {
            level.from = before;
        }
    }

    /// One item made of all items from `start` on.
    fn merge_items(&mut self, start: usize, name: &str) -> Item<'a> {
        let mut merged = Item::computed(name, &Output::default());
        let parts = self.items().get(start..).unwrap_or_default();
        let cost = parts.iter().map(|item| item.columns.len() + item.locks.len() + 1).sum();
        if !self.pays(cost) {
            return merged;
        }
        for item in self.items().get(start..).unwrap_or_default() {
            merged.relations.extend(&item.relations);
            merged.columns.extend(item.columns.iter().cloned());
            merged.locks.extend(&item.locks);
            merged.open |= item.open;
        }
        merged
    }

    /// The columns that NATURAL merges.
    fn common_columns(&mut self, start: usize, middle: usize) -> Vec<String> {
        let columns = |items: &[Rc<Item<'a>>]| items.iter().map(|item| item.columns.len() + 1).sum::<usize>();
        let sides = self
            .items()
            .get(start..)
            .and_then(|items| items.split_at_checked(middle - start));
        let cost = sides.map_or(0, |(left, right)| columns(left) * columns(right));
        if !self.pays(cost) {
            return Vec::new();
        }
        let sides = self
            .items()
            .get(start..)
            .and_then(|items| items.split_at_checked(middle - start));
        let Some((left, right)) = sides else {
            return Vec::new();
        };
        let unknown = left.iter().chain(right).any(|item| item.open);
        let is_right = |name: &str| {
            right
                .iter()
                .any(|item| item.columns.iter().any(|column| column.name == name))
        };
        let common = left
            .iter()
            .flat_map(|item| &item.columns)
            .filter(|column| is_right(&column.name))
            .map(|column| column.name.clone().into_owned())
            .collect();
        if unknown {
            self.opaque("NATURAL JOIN with columns that are not known");
        }
        common
    }
}

fn using(clause: &[Node]) -> Vec<String> {
    clause.iter().filter_map(string).map(str::to_owned).collect()
}

fn is_one_column(call: &Node) -> bool {
    match &call.node {
        Some(NodeEnum::FuncCall(call)) => match strings(&call.funcname).as_deref() {
            Some([name] | ["pg_catalog", name]) => ONE_COLUMN.contains(name),
            _ => false,
        },
        _ => false,
    }
}
