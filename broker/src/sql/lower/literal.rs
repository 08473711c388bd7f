//! Constants and parameters, as far as their text is known before anything runs.

use super::names::strings;
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, Node};

/// The number of a parameter, with or without a cast that leaves a text as it is.
pub(super) fn text_parameter(node: &Node) -> Option<u16> {
    match &node.node {
        Some(NodeEnum::ParamRef(nodes::ParamRef { number, location: _ })) => u16::try_from(*number).ok(),
        Some(NodeEnum::TypeCast(cast)) => {
            let of = cast.type_name.as_ref()?;
            let names = strings(&of.names)?;
            let text = matches!(names.as_slice(), ["text"] | ["pg_catalog", "text" | "varchar"]);
            (text && of.typmods.is_empty() && of.array_bounds.is_empty())
                .then(|| text_parameter(cast.arg.as_deref()?))?
        }
        _ => None,
    }
}

/// True for a plain column of this name.
pub(super) fn is_column(node: &Node, name: &str) -> bool {
    matches!(&node.node, Some(NodeEnum::ColumnRef(column))
        if strings(&column.fields).is_some_and(|fields| fields == [name]))
}

/// The text of a string constant, with or without a cast.
pub(super) fn text_literal(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::AConst(nodes::AConst {
            isnull: false,
            location: _,
            val: Some(nodes::a_const::Val::Sval(nodes::String { sval })),
        })) => Some(sval),
        Some(NodeEnum::TypeCast(cast)) => {
            let nodes::TypeCast {
                arg,
                type_name,
                location: _,
            } = &**cast;
            let nodes::TypeName {
                names,
                type_oid: _,
                setof: _,
                pct_type: _,
                typmods,
                typemod: _,
                array_bounds,
                location: _,
            } = type_name.as_ref()?;
            // A shorter type would cut the text.
            let text = matches!(strings(names).as_deref(), Some(["text"] | ["pg_catalog", "text"]));
            (text && typmods.is_empty() && array_bounds.is_empty()).then(|| text_literal(arg.as_deref()?))?
        }
        _ => None,
    }
}

/// A whole number, as it stands for a target where rows are grouped or ordered, and its location.
pub(super) fn position(node: &Node) -> Option<(usize, i32)> {
    match &node.node {
        Some(NodeEnum::AConst(nodes::AConst {
            isnull: false,
            location,
            val: Some(nodes::a_const::Val::Ival(nodes::Integer { ival })),
        })) => Some((usize::try_from(*ival).ok()?, *location)),
        _ => None,
    }
}

/// A string, NULL, or an array of them: nothing that has a type of its own before it is cast.
pub(super) fn is_text_literal(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(nodes::AConst {
            isnull: true,
            location: _,
            val: _,
        })) => true,
        Some(NodeEnum::AArrayExpr(nodes::AArrayExpr {
            elements,
            list_start: _,
            list_end: _,
            location: _,
        })) => elements.iter().all(is_text_literal),
        Some(NodeEnum::AConst(_)) => text_literal(node).is_some(),
        _ => false,
    }
}
