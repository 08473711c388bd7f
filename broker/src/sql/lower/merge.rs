//! MERGE: judged under its own class and under the class of every action it can take.

use super::Walk;
use super::attached::Written;
use super::scope::Output;
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, CmdType, MergeMatchKind};
use crate::sql::{Class, Relation};

impl<'a> Walk<'a> {
    pub(super) fn merge(&mut self, merge: &nodes::MergeStmt) -> Output {
        let nodes::MergeStmt {
            relation,
            source_relation,
            join_condition,
            merge_when_clauses,
            returning_clause,
            with_clause,
        } = merge;
        self.changes();
        let outer = self.ctes.len();
        self.with(with_clause.as_ref());
        let target = self.dml_target(relation.as_ref());
        let output = self.in_level(|walk| {
            let Some((relation, item)) = target else {
                return Output::default();
            };
            walk.touch(Class::Merge, &relation.schema, &relation.name, []);
            walk.add_item(item);
            match source_relation {
                Some(source) => walk.source(source),
                None => walk.opaque("MERGE without its source"),
            }
            let joined = walk.bounding(join_condition.as_deref());
            for clause in merge_when_clauses {
                match &clause.node {
                    Some(NodeEnum::MergeWhenClause(clause)) => walk.when(clause, relation, joined),
                    _ => walk.opaque("a MERGE clause of an unknown kind"),
                }
            }
            walk.returning(returning_clause.as_ref())
        });
        self.ctes.truncate(outer);
        output
    }

    /// `joined`: the join looks at the target.
    fn when(&mut self, clause: &nodes::MergeWhenClause, relation: &'a Relation, joined: bool) {
        let nodes::MergeWhenClause {
            match_kind,
            command_type,
            r#override: _,
            condition,
            target_list,
            values,
        } = clause;
        let matched = MergeMatchKind::try_from(*match_kind) == Ok(MergeMatchKind::MergeWhenMatched);
        let bounded = self.bounding(condition.as_deref()) || (matched && joined);
        let columns = self.target_columns(target_list, relation);
        self.expressions(values);
        let Relation { schema, name, .. } = relation;
        self.touch(Class::Merge, schema, name, columns.iter().copied());
        let event = match CmdType::try_from(*command_type) {
            Ok(CmdType::CmdDelete) => Some((Class::Delete, Written::Gone)),
            Ok(CmdType::CmdUpdate) => Some((Class::Update, Written::Updated(&columns, target_list))),
            Ok(CmdType::CmdInsert) => Some((Class::Insert, Written::Unknown)),
            _ => None,
        };
        if let Some((class, written)) = event {
            self.writes(relation, class, &written);
        }
        match CmdType::try_from(*command_type) {
            Ok(CmdType::CmdNothing) => {}
            Ok(CmdType::CmdDelete) => {
                self.touch(Class::Delete, schema, name, []);
                if !bounded {
                    self.unbounded(Class::Delete, relation);
                }
            }
            Ok(CmdType::CmdUpdate) => {
                self.touch(Class::Update, schema, name, columns);
                if !bounded {
                    self.unbounded(Class::Update, relation);
                }
            }
            Ok(CmdType::CmdInsert) if columns.is_empty() => {
                let all: Vec<&str> = relation.columns.iter().map(String::as_str).collect();
                self.touch(Class::Merge, schema, name, all.iter().copied());
                self.touch(Class::Insert, schema, name, all);
            }
            Ok(CmdType::CmdInsert) => self.touch(Class::Insert, schema, name, columns),
            _ => self.opaque("a MERGE action of an unknown kind"),
        }
    }
}
