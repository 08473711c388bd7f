//! The name PostgreSQL gives an output column that has no alias. A sub-query's column must be found under it.

use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{
    self, AExprKind, JsonExprOp, MinMaxOp, Node, ResTarget, SelectStmt, SetOperation, SqlValueFunctionOp, SubLinkType,
    XmlExprOp,
};

use super::names::string;

/// What a column is called when nothing better is known.
const NAMELESS: &str = "?column?";

/// How good a name is: a cast's type gives way to a name found inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    None,
    Weak,
    Strong,
}

/// The name of a target; `None` when it cannot be told without the schema.
pub(super) fn of(target: &ResTarget) -> Option<String> {
    let ResTarget {
        name,
        indirection: _,
        val,
        location: _,
    } = target;
    if !name.is_empty() {
        return Some(name.clone());
    }
    of_expression(val.as_deref()?)
}

/// The name of an expression.
pub(super) fn of_expression(node: &Node) -> Option<String> {
    figure(node).map(|(name, _)| name)
}

/// The names of a query's columns; `None` when a `*` is among them.
pub(super) fn of_query(query: &SelectStmt) -> Option<Vec<String>> {
    if SetOperation::try_from(query.op) != Ok(SetOperation::SetopNone) {
        return of_query(query.larg.as_deref()?);
    }
    if let Some(first) = query.values_lists.first() {
        let Some(NodeEnum::List(nodes::List { items })) = &first.node else {
            return None;
        };
        return (!items.iter().any(is_star)).then(|| values(items.len()));
    }
    query
        .target_list
        .iter()
        .map(|target| match &target.node {
            Some(NodeEnum::ResTarget(target)) if !target.val.as_deref().is_some_and(is_star) => of(target),
            _ => None,
        })
        .collect()
}

/// The function that a JSON query construct is called.
pub(super) fn json_function(op: i32) -> Option<&'static str> {
    match JsonExprOp::try_from(op) {
        Ok(JsonExprOp::JsonExistsOp) => Some("json_exists"),
        Ok(JsonExprOp::JsonQueryOp) => Some("json_query"),
        Ok(JsonExprOp::JsonValueOp) => Some("json_value"),
        Ok(JsonExprOp::JsonTableOp | JsonExprOp::Undefined) | Err(_) => None,
    }
}

/// `column1`, `column2` …
pub(super) fn values(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("column{number}")).collect()
}

/// `*`, `t.*` or `(row).*`: more columns than one.
pub(super) fn is_star(node: &Node) -> bool {
    let last = match &node.node {
        Some(NodeEnum::ColumnRef(column)) => column.fields.last(),
        Some(NodeEnum::AIndirection(indirection)) => indirection.indirection.last(),
        _ => None,
    };
    matches!(
        last,
        Some(Node {
            node: Some(NodeEnum::AStar(nodes::AStar {}))
        })
    )
}

#[expect(clippy::unnecessary_wraps, reason = "every arm of the one caller is optional")]
fn strong(name: impl Into<String>) -> Option<(String, Strength)> {
    Some((name.into(), Strength::Strong))
}

fn figure(node: &Node) -> Option<(String, Strength)> {
    let nameless = || Some((NAMELESS.to_owned(), Strength::None));
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column.fields.last().and_then(string).map_or_else(nameless, strong),
        NodeEnum::AIndirection(indirection) => match indirection.indirection.iter().rev().find_map(string) {
            Some(field) => strong(field),
            None => figure(indirection.arg.as_deref()?),
        },
        NodeEnum::FuncCall(call) => call.funcname.last().and_then(string).map_or_else(nameless, strong),
        NodeEnum::AExpr(expression) if AExprKind::try_from(expression.kind) == Ok(AExprKind::AexprNullif) => {
            strong("nullif")
        }
        NodeEnum::TypeCast(cast) => {
            let (name, strength) = figure(cast.arg.as_deref()?)?;
            if strength == Strength::Strong {
                return strong(name);
            }
            let of_type = cast
                .type_name
                .as_ref()
                .and_then(|of_type| of_type.names.last())
                .and_then(string);
            Some((of_type.unwrap_or(NAMELESS).to_owned(), Strength::Weak))
        }
        NodeEnum::CollateClause(collate) => figure(collate.arg.as_deref()?),
        NodeEnum::GroupingFunc(_) => strong("grouping"),
        NodeEnum::SubLink(link) => match SubLinkType::try_from(link.sub_link_type) {
            Ok(SubLinkType::ExistsSublink) => strong("exists"),
            Ok(SubLinkType::ArraySublink) => strong("array"),
            Ok(SubLinkType::ExprSublink) => match &link.subselect.as_deref()?.node {
                Some(NodeEnum::SelectStmt(query)) => of_query(query)?.into_iter().next().and_then(strong),
                _ => None,
            },
            _ => nameless(),
        },
        NodeEnum::CaseExpr(case) => match case.defresult.as_deref().map(figure) {
            Some(None) => None,
            Some(Some((name, Strength::Strong))) => strong(name),
            _ => Some(("case".to_owned(), Strength::Weak)),
        },
        NodeEnum::AArrayExpr(_) => strong("array"),
        NodeEnum::RowExpr(_) => strong("row"),
        NodeEnum::CoalesceExpr(_) => strong("coalesce"),
        NodeEnum::MinMaxExpr(extreme) => match MinMaxOp::try_from(extreme.op) {
            Ok(MinMaxOp::IsGreatest) => strong("greatest"),
            _ => strong("least"),
        },
        NodeEnum::JsonParseExpr(_) => strong("json"),
        NodeEnum::JsonScalarExpr(_) => strong("json_scalar"),
        NodeEnum::JsonSerializeExpr(_) => strong("json_serialize"),
        NodeEnum::JsonObjectConstructor(_) => strong("json_object"),
        NodeEnum::JsonArrayConstructor(_) | NodeEnum::JsonArrayQueryConstructor(_) => strong("json_array"),
        NodeEnum::JsonObjectAgg(_) => strong("json_objectagg"),
        NodeEnum::JsonArrayAgg(_) => strong("json_arrayagg"),
        NodeEnum::JsonFuncExpr(call) => json_function(call.op).map_or_else(nameless, strong),
        NodeEnum::MergeSupportFunc(_) => strong("merge_action"),
        NodeEnum::XmlExpr(xml) => match XmlExprOp::try_from(xml.op) {
            Ok(XmlExprOp::IsXmlconcat) => strong("xmlconcat"),
            Ok(XmlExprOp::IsXmlelement) => strong("xmlelement"),
            Ok(XmlExprOp::IsXmlforest) => strong("xmlforest"),
            Ok(XmlExprOp::IsXmlparse) => strong("xmlparse"),
            Ok(XmlExprOp::IsXmlpi) => strong("xmlpi"),
            Ok(XmlExprOp::IsXmlroot) => strong("xmlroot"),
            Ok(XmlExprOp::IsXmlserialize) => strong("xmlserialize"),
            Ok(XmlExprOp::IsDocument | XmlExprOp::Undefined) | Err(_) => nameless(),
        },
        NodeEnum::XmlSerialize(_) => strong("xmlserialize"),
        NodeEnum::SqlvalueFunction(function) => {
            let name = SqlValueFunctionOp::try_from(function.op)
                .ok()?
                .as_str_name()
                .to_ascii_lowercase();
            let name = name.strip_prefix("svfop_").unwrap_or(&name);
            strong(name.strip_suffix("_n").unwrap_or(name))
        }
        _ => nameless(),
    }
}
