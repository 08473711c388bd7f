//! SELECT, VALUES, set operations, WITH, and the clauses of all of them.

use super::label;
use super::names::{string, strings};
use super::scope::{Cte, Output};
use super::{MAX_COLUMNS, Walk};
use crate::sql::grammar::nodes::{self, Node, SetOperation};
use crate::sql::grammar::{self, NodeEnum};
use crate::sql::{Class, Relation, settings};

impl<'a> Walk<'a> {
    /// Anything that stands where a query may stand: in brackets, in WITH, behind EXPLAIN, PREPARE, DECLARE, COPY.
    pub(super) fn query(&mut self, node: &Node) -> Output {
        match &node.node {
            Some(NodeEnum::SelectStmt(select)) => self.select(select),
            Some(NodeEnum::InsertStmt(insert)) => self.insert(insert),
            Some(NodeEnum::UpdateStmt(update)) => self.update(update),
            Some(NodeEnum::DeleteStmt(delete)) => self.delete(delete),
            Some(NodeEnum::MergeStmt(merge)) => self.merge(merge),
            other => {
                self.opaque(format!(
                    "{} as a query",
                    other.as_ref().map_or("nothing", grammar::name)
                ));
                Output::unknown()
            }
        }
    }

    /// A SELECT with everything around it.
    pub(super) fn select(&mut self, select: &nodes::SelectStmt) -> Output {
        if self.effort == 0 {
            return Output::unknown();
        }
        let outer = self.ctes.len();
        self.with(select.with_clause.as_ref());
        let output = self.in_level(|walk| walk.select_body(select));
        self.ctes.truncate(outer);
        output
    }

    fn select_body(&mut self, select: &nodes::SelectStmt) -> Output {
        let nodes::SelectStmt {
            distinct_clause,
            into_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset,
            limit_count,
            limit_option: _,
            locking_clause,
            with_clause: _,
            op,
            all: _,
            larg,
            rarg,
        } = select;
        let output = match (SetOperation::try_from(*op), larg, rarg) {
            (Ok(SetOperation::SetopNone), None, None) if !values_lists.is_empty() => self.values(values_lists),
            (Ok(SetOperation::SetopNone), None, None) => {
                let pinned = self.pinned_setting(from_clause, where_clause.as_deref());
                match &pinned {
                    Some(name) if settings::readable(name) && locking_clause.is_empty() => self.one_setting(name),
                    _ => self.sources(from_clause),
                }
                let outer = std::mem::replace(&mut self.pinned, pinned);
                let output = self.targets(target_list);
                self.pinned = outer;
                self.condition(where_clause.as_deref());
                self.group(group_clause, &output);
                self.group_by_keys(group_clause, target_list);
                self.condition(having_clause.as_deref());
                self.windows(window_clause);
                self.ordered(distinct_clause, &output);
                output
            }
            (
                Ok(SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept),
                Some(left),
                Some(right),
            ) => {
                let output = self.select(left);
                self.select(right);
                output
            }
            _ => {
                self.opaque("a set operation of an unknown kind");
                Output::default()
            }
        };
        self.ordered(sort_clause, &output);
        self.maybe(limit_offset.as_deref());
        self.maybe(limit_count.as_deref());
        for lock in locking_clause {
            self.lock_rows(lock);
        }
        if let Some(into) = into_clause {
            self.create_into(into, false);
        }
        output
    }

    fn values(&mut self, lists: &[Node]) -> Output {
        let mut output = Output::default();
        for list in lists {
            let Some(NodeEnum::List(nodes::List { items })) = &list.node else {
                self.opaque("VALUES without a list");
                continue;
            };
            for item in items {
                self.value(item);
            }
            output.open |= items.iter().any(label::is_star);
            if items.len() > MAX_COLUMNS {
                self.opaque("more columns than a result can have");
            } else if output.names.is_empty() {
                output.names = label::values(items.len());
            }
        }
        output
    }

    /// One value of a list in which `t.*` stands for all columns of `t`.
    pub(super) fn value(&mut self, node: &Node) {
        if !label::is_star(node) {
            self.expression(node);
            return;
        }
        match &node.node {
            Some(NodeEnum::ColumnRef(nodes::ColumnRef { fields, location })) => {
                self.stands_at(*location);
                self.star(fields);
            }
            _ => self.expression(node),
        }
    }

    /// `*`, `t.*`, `s.t.*`.
    fn star(&mut self, fields: &[Node]) -> Output {
        let names = fields.split_last().and_then(|(_, names)| strings(names));
        match names.as_deref() {
            Some([]) => self.expand_all(),
            Some([alias]) => self.expand(None, alias),
            Some([schema, alias]) => self.expand(Some(schema), alias),
            Some([database, schema, alias]) if self.is_here(database) => self.expand(Some(schema), alias),
            _ => {
                self.opaque("\"*\" of a name of many parts");
                Output::unknown()
            }
        }
    }

    /// A target list, of SELECT or RETURNING.
    pub(super) fn targets(&mut self, list: &[Node]) -> Output {
        let mut output = Output::default();
        for node in list {
            let Some(NodeEnum::ResTarget(target)) = &node.node else {
                self.opaque("a target of an unknown kind");
                continue;
            };
            let nodes::ResTarget {
                name: _,
                indirection,
                val,
                location: _,
            } = &**target;
            self.subscripts(indirection);
            let Some(value) = val.as_deref() else {
                self.opaque("a target without a value");
                continue;
            };
            if output.names.len() > MAX_COLUMNS {
                self.opaque("more columns than a result can have");
                break;
            }
            if label::is_star(value) {
                if let Some(NodeEnum::ColumnRef(nodes::ColumnRef { fields, location })) = &value.node {
                    self.stands_at(*location);
                    let star = self.star(fields);
                    output.names.extend(star.names);
                    output.open |= star.open;
                } else {
                    self.expression(value);
                    output.open = true;
                }
                continue;
            }
            self.expression(value);
            match label::of(target) {
                Some(name) => output.names.push(name),
                None => output.open = true,
            }
        }
        output
    }

    /// ORDER BY and DISTINCT ON: a bare name is an output column first.
    fn ordered(&mut self, list: &[Node], output: &Output) {
        for node in list {
            if let Some(NodeEnum::SortBy(sort)) = &node.node {
                let nodes::SortBy {
                    node,
                    sortby_dir: _,
                    sortby_nulls: _,
                    use_op,
                    location: _,
                } = &**sort;
                self.operator(use_op);
                if let Some(node) = node {
                    self.ordered_one(node, output);
                }
            } else {
                self.ordered_one(node, output);
            }
        }
    }

    fn ordered_one(&mut self, node: &Node, output: &Output) {
        match bare_name(node) {
            Some(name) if output.names.iter().any(|known| known == name) => {}
            _ => self.expression(node),
        }
    }

    /// GROUP BY: a bare name is an input column first, then an output column.
    fn group(&mut self, list: &[Node], output: &Output) {
        for node in list {
            match &node.node {
                Some(NodeEnum::GroupingSet(set)) => {
                    let nodes::GroupingSet {
                        kind: _,
                        content,
                        location: _,
                    } = set;
                    self.group(content, output);
                }
                _ => match bare_name(node) {
                    Some(name) if !self.is_local_column(name) && output.names.iter().any(|known| known == name) => {}
                    _ => self.expression(node),
                },
            }
        }
    }

    fn windows(&mut self, list: &[Node]) {
        for node in list {
            match &node.node {
                Some(NodeEnum::WindowDef(window)) => self.window(window),
                _ => self.opaque("a window of an unknown kind"),
            }
        }
    }

    /// FOR UPDATE and its kin: PostgreSQL asks for the right to update what is locked.
    fn lock_rows(&mut self, node: &Node) {
        let Some(NodeEnum::LockingClause(nodes::LockingClause {
            locked_rels,
            strength: _,
            wait_policy: _,
        })) = &node.node
        else {
            self.opaque("a locking clause of an unknown kind");
            return;
        };
        self.changes();
        let cost = self
            .items()
            .iter()
            .map(|item| 1 + locked_rels.len() + item.locks.len())
            .sum();
        if !self.pays(cost) {
            return;
        }
        let mut locked: Vec<&'a Relation> = Vec::new();
        for item in self.items() {
            let named = |node: &Node| match &node.node {
                Some(NodeEnum::RangeVar(range)) => item.name == range.relname,
                _ => false,
            };
            if locked_rels.is_empty() || locked_rels.iter().any(named) {
                locked.extend(&item.locks);
            }
        }
        if !locked_rels.is_empty() && locked.is_empty() {
            self.opaque("a locking clause names nothing in FROM");
        }
        for relation in locked {
            self.binds_relation(relation, "FOR UPDATE and its kin lock rows of the table itself");
            self.touch(Class::Update, &relation.schema, &relation.name, []);
        }
    }

    /// WITH: every CTE in turn; the caller takes them out of scope again.
    pub(super) fn with(&mut self, with: Option<&nodes::WithClause>) {
        let Some(nodes::WithClause {
            ctes,
            recursive,
            location: _,
        }) = with
        else {
            return;
        };
        let first = self.ctes.len();
        if *recursive {
            // Each can name all of them, itself included, before its columns are known.
            for node in ctes {
                if let Some(NodeEnum::CommonTableExpr(cte)) = &node.node {
                    let cte = forward(cte);
                    self.ctes.push(cte);
                }
            }
        }
        for (at, node) in ctes.iter().enumerate() {
            let Some(NodeEnum::CommonTableExpr(cte)) = &node.node else {
                self.opaque("a WITH entry of an unknown kind");
                continue;
            };
            let done = self.common_table(cte);
            if *recursive {
                if let Some(slot) = self.ctes.get_mut(first + at) {
                    *slot = done;
                }
            } else {
                self.ctes.push(done);
            }
        }
    }

    fn common_table(&mut self, cte: &nodes::CommonTableExpr) -> Cte {
        let nodes::CommonTableExpr {
            ctename,
            aliascolnames,
            ctematerialized: _,
            ctequery,
            search_clause,
            cycle_clause,
            location: _,
            cterecursive: _,
            cterefcount: _,
            ctecolnames: _,
            ctecoltypes: _,
            ctecoltypmods: _,
            ctecolcollations: _,
        } = cte;
        self.noise.nested += 1;
        let mut output = match ctequery {
            Some(query) => self.query(query),
            None => Output::default(),
        };
        self.noise.nested -= 1;
        output.rename(&strings(aliascolnames).unwrap_or_default());
        if let Some(nodes::CteSearchClause {
            search_col_list: _,
            search_breadth_first: _,
            search_seq_column,
            location: _,
        }) = search_clause
        {
            output.names.push(search_seq_column.clone());
        }
        if let Some(cycle) = cycle_clause {
            let nodes::CteCycleClause {
                cycle_col_list: _,
                cycle_mark_column,
                cycle_mark_value,
                cycle_mark_default,
                cycle_path_column,
                location: _,
                cycle_mark_type: _,
                cycle_mark_typmod: _,
                cycle_mark_collation: _,
                cycle_mark_neop: _,
            } = &**cycle;
            self.plain_operator("=");
            self.plain_operator("<>");
            self.maybe(cycle_mark_value.as_deref());
            self.maybe(cycle_mark_default.as_deref());
            output
                .names
                .extend([cycle_mark_column.clone(), cycle_path_column.clone()]);
        }
        Cte {
            name: ctename.clone(),
            output,
        }
    }
}

/// A recursive CTE before its query was read.
fn forward(cte: &nodes::CommonTableExpr) -> Cte {
    let known = match cte.ctequery.as_deref().map(|query| &query.node) {
        Some(Some(NodeEnum::SelectStmt(query))) => label::of_query(query),
        _ => None,
    };
    let plain = cte.search_clause.is_none() && cte.cycle_clause.is_none();
    let mut output = Output {
        open: known.is_none() || !plain,
        names: known.unwrap_or_default(),
    };
    output.rename(&strings(&cte.aliascolnames).unwrap_or_default());
    Cte {
        name: cte.ctename.clone(),
        output,
    }
}

/// The name, when an expression is nothing but an unqualified one.
fn bare_name(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::ColumnRef(nodes::ColumnRef { fields, location: _ })) => match fields.as_slice() {
            [only] => string(only),
            _ => None,
        },
        _ => None,
    }
}
