//! JSON and XML constructs. Most came with PostgreSQL 16 and 17: an older server reads the same words as a call of
//! whatever function of that name is on its path, and so does the walk.

use super::names::alias;
use super::scope::{Item, Output};
use super::{Walk, label};
use crate::sql::grammar::nodes::{self, JsonTableColumnType, Node};
use crate::sql::grammar::{self, NodeEnum};

/// The first versions that have a construct of their own.
const SIXTEEN: u32 = 160_000;
const SEVENTEEN: u32 = 170_000;

impl Walk<'_> {
    /// The expressions of this module; anything else is opaque.
    pub(super) fn document(&mut self, node: &NodeEnum) {
        match node {
            NodeEnum::JsonFuncExpr(call) => self.json_query(call),
            NodeEnum::JsonObjectConstructor(object) => self.json_object(object),
            NodeEnum::JsonArrayConstructor(array) => self.json_array(array),
            NodeEnum::JsonArrayQueryConstructor(array) => self.json_array_of_query(array),
            NodeEnum::JsonObjectAgg(aggregate) => self.json_object_aggregate(aggregate),
            NodeEnum::JsonArrayAgg(aggregate) => self.json_array_aggregate(aggregate),
            NodeEnum::JsonParseExpr(parse) => self.json_parse(parse),
            NodeEnum::JsonScalarExpr(scalar) => self.json_scalar(scalar),
            NodeEnum::JsonSerializeExpr(serialize) => self.json_serialize(serialize),
            NodeEnum::JsonValueExpr(value) => self.json_value(value),
            NodeEnum::JsonIsPredicate(predicate) => self.is_json(predicate),
            NodeEnum::JsonKeyValue(pair) => self.json_pair(pair),
            // It has no part to look at.
            NodeEnum::MergeSupportFunc(_) => self.since(SEVENTEEN, "merge_action"),
            NodeEnum::XmlExpr(xml) => self.xml(xml),
            NodeEnum::XmlSerialize(xml) => self.xml_serialize(xml),
            other => self.opaque(format!("{} in an expression", grammar::name(other))),
        }
    }

    /// Built in from `version` on; before that, a call of a function by that name.
    fn since(&mut self, version: u32, name: &str) {
        if self.snapshot.server_version < version {
            self.unqualified_function(name);
        }
    }

    /// A value is brought to a type: for a user-defined one like a cast.
    fn converted(&mut self, name: Option<&nodes::TypeName>) {
        if name.is_some()
            && let Some((schema, name)) = self.type_name(name)
        {
            self.calls(&schema, &name);
        }
    }

    fn json_output(&mut self, output: Option<&nodes::JsonOutput>) {
        if let Some(nodes::JsonOutput {
            type_name,
            returning: _,
        }) = output
        {
            self.converted(type_name.as_ref());
        }
    }

    fn json_value(&mut self, value: &nodes::JsonValueExpr) {
        let nodes::JsonValueExpr {
            raw_expr,
            formatted_expr,
            format: _,
        } = value;
        self.maybe(raw_expr.as_deref());
        self.maybe(formatted_expr.as_deref());
    }

    fn maybe_json_value(&mut self, value: Option<&nodes::JsonValueExpr>) {
        if let Some(value) = value {
            self.json_value(value);
        }
    }

    /// ON EMPTY, ON ERROR.
    fn json_behavior(&mut self, behavior: Option<&nodes::JsonBehavior>) {
        if let Some(nodes::JsonBehavior {
            btype: _,
            expr,
            coerce: _,
            location: _,
        }) = behavior
        {
            self.maybe(expr.as_deref());
        }
    }

    /// PASSING value AS name.
    fn json_arguments(&mut self, list: &[Node]) {
        for node in list {
            match &node.node {
                Some(NodeEnum::JsonArgument(argument)) => {
                    let nodes::JsonArgument { val, name: _ } = &**argument;
                    self.maybe_json_value(val.as_deref());
                }
                _ => self.opaque("a JSON argument of an unknown kind"),
            }
        }
    }

    fn json_query(&mut self, call: &nodes::JsonFuncExpr) {
        let nodes::JsonFuncExpr {
            op,
            column_name: _,
            context_item,
            pathspec,
            passing,
            output,
            on_empty,
            on_error,
            wrapper: _,
            quotes: _,
            location: _,
        } = call;
        match label::json_function(*op) {
            Some(name) => self.since(SEVENTEEN, name),
            None => self.opaque("a JSON function of an unknown kind"),
        }
        self.maybe_json_value(context_item.as_deref());
        self.maybe(pathspec.as_deref());
        self.json_arguments(passing);
        self.json_output(output.as_ref());
        self.json_behavior(on_empty.as_deref());
        self.json_behavior(on_error.as_deref());
    }

    fn json_object(&mut self, object: &nodes::JsonObjectConstructor) {
        let nodes::JsonObjectConstructor {
            exprs,
            output,
            absent_on_null: _,
            unique: _,
            location: _,
        } = object;
        self.since(SIXTEEN, "json_object");
        self.expressions(exprs);
        self.json_output(output.as_ref());
    }

    fn json_pair(&mut self, pair: &nodes::JsonKeyValue) {
        let nodes::JsonKeyValue { key, value } = pair;
        self.maybe(key.as_deref());
        self.maybe_json_value(value.as_deref());
    }

    fn json_array(&mut self, array: &nodes::JsonArrayConstructor) {
        let nodes::JsonArrayConstructor {
            exprs,
            output,
            absent_on_null: _,
            location: _,
        } = array;
        self.since(SIXTEEN, "json_array");
        self.expressions(exprs);
        self.json_output(output.as_ref());
    }

    fn json_array_of_query(&mut self, array: &nodes::JsonArrayQueryConstructor) {
        let nodes::JsonArrayQueryConstructor {
            query,
            output,
            format: _,
            absent_on_null: _,
            location: _,
        } = array;
        self.since(SIXTEEN, "json_array");
        match query {
            Some(query) => {
                self.query(query);
            }
            None => self.opaque("JSON_ARRAY without its query"),
        }
        self.json_output(output.as_ref());
    }

    fn json_object_aggregate(&mut self, aggregate: &nodes::JsonObjectAgg) {
        let nodes::JsonObjectAgg {
            constructor,
            arg,
            absent_on_null: _,
            unique: _,
        } = aggregate;
        self.since(SIXTEEN, "json_objectagg");
        if let Some(pair) = arg {
            self.json_pair(pair);
        }
        self.json_aggregate(constructor.as_deref());
    }

    fn json_array_aggregate(&mut self, aggregate: &nodes::JsonArrayAgg) {
        let nodes::JsonArrayAgg {
            constructor,
            arg,
            absent_on_null: _,
        } = aggregate;
        self.since(SIXTEEN, "json_arrayagg");
        self.maybe_json_value(arg.as_deref());
        self.json_aggregate(constructor.as_deref());
    }

    fn json_aggregate(&mut self, constructor: Option<&nodes::JsonAggConstructor>) {
        let Some(nodes::JsonAggConstructor {
            output,
            agg_filter,
            agg_order,
            over,
            location: _,
        }) = constructor
        else {
            self.opaque("a JSON aggregate of an unknown kind");
            return;
        };
        self.json_output(output.as_ref());
        self.maybe(agg_filter.as_deref());
        self.expressions(agg_order);
        if let Some(window) = over {
            self.window(window);
        }
    }

    fn json_parse(&mut self, parse: &nodes::JsonParseExpr) {
        let nodes::JsonParseExpr {
            expr,
            output,
            unique_keys: _,
            location: _,
        } = parse;
        // Before that, a cast in the form of a call.
        if self.snapshot.server_version < SEVENTEEN {
            self.candidates("json");
        }
        self.maybe_json_value(expr.as_deref());
        self.json_output(output.as_ref());
    }

    fn json_scalar(&mut self, scalar: &nodes::JsonScalarExpr) {
        let nodes::JsonScalarExpr {
            expr,
            output,
            location: _,
        } = scalar;
        self.since(SEVENTEEN, "json_scalar");
        self.maybe(expr.as_deref());
        self.json_output(output.as_ref());
    }

    fn json_serialize(&mut self, serialize: &nodes::JsonSerializeExpr) {
        let nodes::JsonSerializeExpr {
            expr,
            output,
            location: _,
        } = serialize;
        self.since(SEVENTEEN, "json_serialize");
        self.maybe_json_value(expr.as_deref());
        self.json_output(output.as_ref());
    }

    /// IS JSON: an older server does not parse it.
    fn is_json(&mut self, predicate: &nodes::JsonIsPredicate) {
        let nodes::JsonIsPredicate {
            expr,
            format: _,
            item_type: _,
            unique_keys: _,
            location: _,
        } = predicate;
        self.maybe(expr.as_deref());
    }

    /// JSON_TABLE in FROM. Its document sees its neighbours as if it were LATERAL.
    pub(super) fn json_table(&mut self, table: &nodes::JsonTable) {
        let nodes::JsonTable {
            context_item,
            pathspec,
            passing,
            columns,
            on_error,
            alias: given,
            lateral: _,
            location: _,
        } = table;
        if self.snapshot.server_version < SEVENTEEN {
            self.opaque("JSON_TABLE, which this server does not have");
        }
        self.maybe_json_value(context_item.as_deref());
        self.json_path(pathspec.as_deref());
        self.json_arguments(passing);
        self.json_behavior(on_error.as_deref());
        let mut output = Output::default();
        self.json_columns(columns, &mut output);
        self.add_document(given.as_ref(), output, "json_table");
    }

    fn json_path(&mut self, path: Option<&nodes::JsonTablePathSpec>) {
        if let Some(nodes::JsonTablePathSpec {
            string,
            name: _,
            name_location: _,
            location: _,
        }) = path
        {
            self.maybe(string.as_deref());
        }
    }

    fn json_columns(&mut self, columns: &[Node], output: &mut Output) {
        for node in columns {
            let Some(NodeEnum::JsonTableColumn(column)) = &node.node else {
                self.opaque("a column of JSON_TABLE of an unknown kind");
                continue;
            };
            let nodes::JsonTableColumn {
                coltype,
                name,
                type_name,
                pathspec,
                format: _,
                wrapper: _,
                quotes: _,
                columns,
                on_empty,
                on_error,
                location: _,
            } = &**column;
            match JsonTableColumnType::try_from(*coltype) {
                Ok(JsonTableColumnType::JtcNested) => self.json_columns(columns, output),
                Ok(JsonTableColumnType::Undefined) | Err(_) => {
                    self.opaque("a column of JSON_TABLE of an unknown kind");
                }
                Ok(_) => output.names.push(name.clone()),
            }
            self.converted(type_name.as_ref());
            self.json_path(pathspec.as_deref());
            self.json_behavior(on_empty.as_deref());
            self.json_behavior(on_error.as_deref());
        }
    }

    fn xml(&mut self, xml: &nodes::XmlExpr) {
        let nodes::XmlExpr {
            xpr: _,
            op: _,
            name: _,
            named_args,
            arg_names: _,
            args,
            xmloption: _,
            indent: _,
            r#type: _,
            typmod: _,
            location: _,
        } = xml;
        self.named_values(named_args);
        self.expressions(args);
    }

    /// XMLATTRIBUTES, XMLFOREST, XMLNAMESPACES: values with names.
    fn named_values(&mut self, list: &[Node]) {
        for node in list {
            match &node.node {
                Some(NodeEnum::ResTarget(target)) => {
                    let nodes::ResTarget {
                        name: _,
                        indirection,
                        val,
                        location: _,
                    } = &**target;
                    self.subscripts(indirection);
                    self.maybe(val.as_deref());
                }
                _ => self.opaque("a named value of an unknown kind"),
            }
        }
    }

    fn xml_serialize(&mut self, xml: &nodes::XmlSerialize) {
        let nodes::XmlSerialize {
            xmloption: _,
            expr,
            type_name,
            indent: _,
            location: _,
        } = xml;
        self.maybe(expr.as_deref());
        self.converted(type_name.as_ref());
    }

    /// XMLTABLE in FROM. Its document sees its neighbours as if it were LATERAL.
    pub(super) fn xml_table(&mut self, table: &nodes::RangeTableFunc) {
        let nodes::RangeTableFunc {
            lateral: _,
            docexpr,
            rowexpr,
            namespaces,
            columns,
            alias: given,
            location: _,
        } = table;
        self.maybe(docexpr.as_deref());
        self.maybe(rowexpr.as_deref());
        self.named_values(namespaces);
        let mut output = Output::default();
        for node in columns {
            let Some(NodeEnum::RangeTableFuncCol(column)) = &node.node else {
                self.opaque("a column of XMLTABLE of an unknown kind");
                continue;
            };
            let nodes::RangeTableFuncCol {
                colname,
                type_name,
                for_ordinality: _,
                is_not_null: _,
                colexpr,
                coldefexpr,
                location: _,
            } = &**column;
            self.converted(type_name.as_ref());
            self.maybe(colexpr.as_deref());
            self.maybe(coldefexpr.as_deref());
            output.names.push(colname.clone());
        }
        self.add_document(given.as_ref(), output, "xmltable");
    }

    fn add_document(&mut self, given: Option<&nodes::Alias>, mut output: Output, own: &str) {
        let (shown, columns) = alias(given);
        output.rename(&columns);
        self.add_item(Item::computed(shown.unwrap_or(own), &output));
    }
}
