//! Whether a WHERE bounds what a statement changes: it has to look at a column of the target. What no column decides
//! (`true`, `1 = 1`, `now() > …`, a parameter, a sub-query about other tables) is as good as no WHERE, and so is what every
//! value passes by its form (`id = id`, `id IS NOT NULL`, `name LIKE '%'`).

use super::Walk;
use super::names::strings;
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, AExprKind, BoolExprType, BoolTestType, Node, NullTestType};
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
            Some(NodeEnum::BooleanTest(test)) => {
                let nodes::BooleanTest {
                    xpr: _,
                    arg,
                    booltesttype,
                    location: _,
                } = &**test;
                let Some(arg) = arg.as_deref() else { return false };
                match BoolTestType::try_from(*booltesttype) {
                    Ok(BoolTestType::IsTrue | BoolTestType::IsNotFalse) => self.bounds(arg, negated),
                    Ok(BoolTestType::IsFalse | BoolTestType::IsNotTrue) => self.bounds(arg, !negated),
                    // Known or unknown, whatever it says.
                    _ => self.looks_at_target(arg) && (test.booltesttype() == BoolTestType::IsUnknown) != negated,
                }
            }
            Some(NodeEnum::NullTest(test)) => {
                let missing = test.nulltesttype() == NullTestType::IsNull;
                self.looks_at_target(node) && missing != negated
            }
            _ => self.looks_at_target(node) && !self.passes_everything(node),
        }
    }

    /// Reads an expression; true when it reads a column of the target.
    fn looks_at_target(&mut self, node: &Node) -> bool {
        let before = self.target_reads;
        self.expression(node);
        self.target_reads > before
    }

    /// `id = id`, `id IN (id, 1)`, `id BETWEEN id AND id`, `name LIKE '%'`, `name ~ ''` and their kin.
    fn passes_everything(&self, node: &Node) -> bool {
        let Some(NodeEnum::AExpr(expression)) = &node.node else {
            return false;
        };
        let (Some(left), Some(right)) = (expression.lexpr.as_deref(), expression.rexpr.as_deref()) else {
            return false;
        };
        let list = |node: &Node| match &node.node {
            Some(NodeEnum::List(nodes::List { items })) => items.clone(),
            _ => vec![node.clone()],
        };
        let text = match &right.node {
            Some(NodeEnum::AConst(nodes::AConst {
                isnull: _,
                location: _,
                val: Some(nodes::a_const::Val::Sval(nodes::String { sval })),
            })) => Some(sval.as_str()),
            _ => None,
        };
        match expression.kind() {
            AExprKind::AexprLike | AExprKind::AexprIlike => {
                text.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte == b'%'))
            }
            AExprKind::AexprIn => list(right).iter().any(|item| self.are_same(left, item)),
            AExprKind::AexprBetween | AExprKind::AexprBetweenSym => {
                list(right).iter().all(|item| self.are_same(left, item))
            }
            _ => {
                let matches = matches!(strings(&expression.name).as_deref(), Some([.., "~" | "~*"]));
                (matches && text == Some("")) || self.are_same(left, right)
            }
        }
    }

    /// The same column twice, cast or not, or rows of such.
    fn are_same(&self, left: &Node, right: &Node) -> bool {
        if let (Some(NodeEnum::RowExpr(left)), Some(NodeEnum::RowExpr(right))) = (&left.node, &right.node) {
            let mut pairs = left.args.iter().zip(&right.args);
            return left.args.len() == right.args.len() && pairs.all(|(left, right)| self.are_same(left, right));
        }
        if let (Some(NodeEnum::TypeCast(left)), Some(NodeEnum::TypeCast(right))) = (&left.node, &right.node)
            && let (Some(left), Some(right)) = (left.arg.as_deref(), right.arg.as_deref())
        {
            return self.are_same(left, right);
        }
        let (Some(left), Some(right)) = (path(left), path(right)) else {
            return false;
        };
        left == right || (self.items().len() == 1 && left.last() == right.last())
    }
}

/// The parts of a column's name.
fn path(node: &Node) -> Option<Vec<&str>> {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => strings(&column.fields),
        _ => None,
    }
}
