//! Whether a WHERE bounds what a statement changes: it has to look at a column of the target. What no column decides
//! (`true`, `1 = 1`, `now() > …`, a parameter, a sub-query about other tables) is as good as no WHERE.

use super::Walk;
use super::names::strings;
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, BoolExprType, Node};
use crate::sql::{Class, Columns, Kind, Relation, Touch};

impl Walk<'_> {
    /// Reads a WHERE, an ON or a WHEN; true when it bounds the target's rows.
    pub(super) fn bounding(&mut self, condition: Option<&Node>) -> bool {
        condition.is_some_and(|condition| self.choosing(|walk| walk.bounds(condition, false)))
    }

    /// Records that a statement changes whatever rows `relation` has.
    pub(super) fn unbounded(&mut self, class: Class, relation: &Relation) {
        self.unbounded.push(Touch {
            class,
            kind: Kind::Relation,
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            columns: Columns::Named(Vec::new()),
        });
    }

    /// One arm that does not look at the target is enough to make an OR true; one that does is enough to bound an AND.
    fn bounds(&mut self, node: &Node, negated: bool) -> bool {
        match &node.node {
            Some(NodeEnum::BoolExpr(expression)) => {
                let nodes::BoolExpr {
                    xpr: _,
                    boolop,
                    args,
                    location: _,
                } = &**expression;
                let kind = BoolExprType::try_from(*boolop);
                let inner = negated ^ (kind == Ok(BoolExprType::NotExpr));
                // Every arm is read, whatever the others say.
                let bounding = args.iter().filter(|arm| self.bounds(arm, inner)).count();
                match kind {
                    Ok(BoolExprType::NotExpr) => bounding > 0,
                    Ok(BoolExprType::AndExpr) if !negated => bounding > 0,
                    Ok(BoolExprType::OrExpr) if negated => bounding > 0,
                    _ => bounding == args.len(),
                }
            }
            Some(NodeEnum::CurrentOfExpr(_)) => {
                self.expression(node);
                true
            }
            _ => {
                let before = self.target_reads;
                self.expression(node);
                self.target_reads > before && !self.compares_with_itself(node)
            }
        }
    }

    /// `id = id` and its kin.
    fn compares_with_itself(&self, node: &Node) -> bool {
        let Some(NodeEnum::AExpr(expression)) = &node.node else {
            return false;
        };
        let (Some(left), Some(right)) = (path(expression.lexpr.as_deref()), path(expression.rexpr.as_deref())) else {
            return false;
        };
        left == right || (self.items().len() == 1 && left.last() == right.last())
    }
}

/// The parts of a column's name.
fn path(node: Option<&Node>) -> Option<Vec<&str>> {
    match &node?.node {
        Some(NodeEnum::ColumnRef(column)) => strings(&column.fields),
        _ => None,
    }
}
