//! Expressions: every column read, function called, operator and cast used, sub-query opened.

use super::Walk;
use super::literal::{is_column, is_text_literal, position, text_literal, text_parameter};
use super::names::{string, strings};
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, AExprKind, Node, SubLinkType};
use crate::sql::{Ask, Barrier, settings};

/// How many characters `lpad`, `rpad` and `repeat` may make without a rule that names them.
const PADDED: usize = 10_000;

impl Walk<'_> {
    /// An expression that may be absent.
    pub(super) fn maybe(&mut self, node: Option<&Node>) {
        if let Some(node) = node {
            self.expression(node);
        }
    }

    /// A list of expressions.
    pub(super) fn expressions(&mut self, list: &[Node]) {
        for node in list {
            self.expression(node);
        }
    }

    /// One expression. Each arm only hands on, so that the frame of this much-recursed function stays small.
    pub(super) fn expression(&mut self, node: &Node) {
        let Node { node } = node;
        match node {
            // NULL in a list that allows gaps.
            None
            | Some(
                NodeEnum::AConst(_) | NodeEnum::ParamRef(_) | NodeEnum::SetToDefault(_) | NodeEnum::SqlvalueFunction(_),
            ) => {}
            Some(NodeEnum::ColumnRef(column)) => self.column(column),
            Some(NodeEnum::AExpr(expression)) => self.operation(expression),
            Some(NodeEnum::BoolExpr(expression)) => self.boolean(expression),
            Some(NodeEnum::TypeCast(cast)) => self.cast(cast),
            Some(NodeEnum::CollateClause(collate)) => self.collate(collate),
            Some(NodeEnum::FuncCall(call)) => self.call(call),
            Some(NodeEnum::AIndirection(indirection)) => self.indirection(indirection),
            Some(NodeEnum::AArrayExpr(array)) => self.array(array),
            Some(NodeEnum::SubLink(link)) => self.sub_query(link),
            Some(NodeEnum::CaseExpr(case)) => self.case(case),
            Some(NodeEnum::CoalesceExpr(coalesce)) => self.coalesce(coalesce),
            Some(NodeEnum::MinMaxExpr(extreme)) => self.extreme(extreme),
            Some(NodeEnum::NullTest(test)) => self.null_test(test),
            Some(NodeEnum::BooleanTest(test)) => self.boolean_test(test),
            Some(NodeEnum::RowExpr(row)) => self.row(row),
            Some(NodeEnum::GroupingFunc(grouping)) => self.grouping(grouping),
            Some(NodeEnum::GroupingSet(set)) => self.grouping_set(set),
            Some(NodeEnum::NamedArgExpr(argument)) => self.named_argument(argument),
            Some(NodeEnum::List(nodes::List { items })) => self.expressions(items),
            Some(NodeEnum::SortBy(sort)) => self.sort(sort),
            Some(NodeEnum::MultiAssignRef(assign)) => self.multiple_assignment(assign),
            Some(NodeEnum::CurrentOfExpr(current)) => self.current_of(current),
            Some(other) => self.document(other),
        }
    }

    fn column(&mut self, column: &nodes::ColumnRef) {
        let nodes::ColumnRef { fields, location } = column;
        self.stands_at(*location);
        if let Some((
            Node {
                node: Some(NodeEnum::AStar(nodes::AStar {})),
            },
            names,
        )) = fields.split_last()
        {
            match strings(names).as_deref() {
                Some([alias]) => self.whole_row(None, alias),
                Some([schema, alias]) => self.whole_row(Some(schema), alias),
                Some([database, schema, alias]) if self.is_here(database) => self.whole_row(Some(schema), alias),
                Some([_, _, _]) => {}
                _ => self.opaque("\"*\" in an expression"),
            }
            return;
        }
        match strings(fields).as_deref() {
            Some([name]) => self.plain_name(name),
            Some([alias, name]) => self.qualified_name(None, alias, name),
            Some([schema, alias, name]) => self.qualified_name(Some(schema), alias, name),
            Some([database, schema, alias, name]) => {
                if self.is_here(database) {
                    self.qualified_name(Some(schema), alias, name);
                }
            }
            _ => self.opaque("a column of more than four names"),
        }
    }

    fn operation(&mut self, expression: &nodes::AExpr) {
        let nodes::AExpr {
            kind,
            name,
            lexpr,
            rexpr,
            rexpr_list_start: _,
            rexpr_list_end: _,
            location: _,
        } = expression;
        match AExprKind::try_from(*kind) {
            Ok(
                AExprKind::AexprOp
                | AExprKind::AexprOpAny
                | AExprKind::AexprOpAll
                | AExprKind::AexprDistinct
                | AExprKind::AexprNotDistinct
                | AExprKind::AexprNullif
                | AExprKind::AexprIn
                | AExprKind::AexprLike
                | AExprKind::AexprIlike
                | AExprKind::AexprSimilar,
            ) => {
                self.operator(name);
                self.loud_operator(name);
            }
            Ok(
                AExprKind::AexprBetween
                | AExprKind::AexprNotBetween
                | AExprKind::AexprBetweenSym
                | AExprKind::AexprNotBetweenSym,
            ) => {
                for name in ["<", "<=", ">=", ">"] {
                    self.plain_operator(name);
                }
            }
            Ok(AExprKind::Undefined) | Err(_) => self.opaque("an operator of an unknown kind"),
        }
        self.maybe(lexpr.as_deref());
        self.maybe(rexpr.as_deref());
    }

    fn boolean(&mut self, expression: &nodes::BoolExpr) {
        let nodes::BoolExpr {
            xpr: _,
            boolop: _,
            args,
            location: _,
        } = expression;
        self.expressions(args);
    }

    /// A cast to a user-defined type may run a function of its owner. A string literal or NULL never does: it goes
    /// through the type's input routine. Every other cast counts as a call of a function named like the type, so that
    /// the scope has to name it.
    fn cast(&mut self, cast: &nodes::TypeCast) {
        let nodes::TypeCast {
            arg,
            type_name,
            location: _,
        } = cast;
        if let Some((schema, name)) = self.type_name(type_name.as_ref())
            && !arg.as_deref().is_some_and(is_text_literal)
        {
            self.calls(&schema, &name);
        }
        if !arg.as_deref().is_some_and(is_text_literal) {
            self.loud();
        }
        self.maybe(arg.as_deref());
    }

    pub(super) fn collate(&mut self, collate: &nodes::CollateClause) {
        let nodes::CollateClause {
            arg,
            collname: _,
            location: _,
        } = collate;
        self.maybe(arg.as_deref());
    }

    /// A function call, in an expression or in FROM.
    pub(super) fn call(&mut self, call: &nodes::FuncCall) {
        let nodes::FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group: _,
            agg_star: _,
            agg_distinct: _,
            func_variadic: _,
            funcformat: _,
            location: _,
        } = call;
        let settled = match strings(funcname).as_deref() {
            Some(["set_config"] | ["pg_catalog", "set_config"]) => self.set_config(args),
            Some(["current_setting"] | ["pg_catalog", "current_setting"]) => self.current_setting(args),
            Some(
                [name @ ("currval" | "nextval" | "setval")] | ["pg_catalog", name @ ("currval" | "nextval" | "setval")],
            ) => self.sequence_call(name, args),
            Some([name @ ("lpad" | "repeat" | "rpad")] | ["pg_catalog", name @ ("lpad" | "repeat" | "rpad")]) => {
                self.grows_little(name, args)
            }
            // Servers before 16 have no such keyword: there it is any function of that name on the path.
            Some(["pg_catalog", "json_object"]) => {
                self.candidates("json_object");
                false
            }
            _ => false,
        };
        if !settled {
            self.function(funcname);
        }
        self.loud();
        self.expressions(args);
        self.expressions(agg_order);
        self.maybe(agg_filter.as_deref());
        if let Some(window) = over {
            self.window(window);
        }
    }

    /// `lpad`, `rpad` and `repeat` need no rule where the text itself says that nothing large comes out.
    fn grows_little(&mut self, name: &str, args: &[Node]) -> bool {
        let number = |node: Option<&Node>| node.and_then(position).map(|(number, _)| number);
        let length = match name {
            "repeat" => args
                .first()
                .and_then(text_literal)
                .zip(number(args.get(1)))
                .map(|(text, times)| text.len().saturating_mul(times)),
            _ => number(args.get(1)),
        };
        let little = length.is_some_and(|length| length <= PADDED) && self.is_catalog_only(name);
        self.by_number |= little;
        little
    }

    /// `set_config` is judged like SET when its arguments are literals; then the call itself needs no rule. Where every
    /// value is fine the value need not be known, and a search path may be bound: Flyway's is.
    fn set_config(&mut self, args: &[Node]) -> bool {
        self.changes();
        let pinned = self.pinned.clone();
        let known = match args {
            [name, value, _local] => {
                let name = text_literal(name).or_else(|| pinned.as_deref().filter(|_| is_column(name, "name")));
                name.zip(Some(text_literal(value)))
            }
            _ => None,
        };
        match known {
            Some((name, Some(value))) => self.setting(name, Some(value.to_owned())),
            Some((name, None)) if settings::bound(&name.to_ascii_lowercase()) == Some(settings::Bound::Any) => {
                self.setting(name, None);
            }
            Some(("search_path", None)) if args.get(1).is_some_and(|value| text_parameter(value).is_some()) => {
                self.asks.extend(args.get(1).and_then(text_parameter).map(Ask::Path));
                self.barrier = Barrier::Schema;
            }
            _ => self.opaque("set_config with arguments that are not literals"),
        }
        self.is_catalog_only("set_config")
    }

    /// `current_setting` is judged like SHOW when its argument is a literal, and when the value is bound where it is a
    /// parameter; otherwise a rule has to name the function.
    fn current_setting(&mut self, args: &[Node]) -> bool {
        let Some(name) = args.first() else { return false };
        if let Some(name) = text_literal(name) {
            self.settings.push(crate::sql::Setting {
                name: name.to_ascii_lowercase(),
                value: None,
            });
        } else if let Some(parameter) = text_parameter(name) {
            self.asks.push(Ask::Setting(parameter));
        } else {
            return false;
        }
        self.is_catalog_only("current_setting")
    }

    /// A window, named or in place.
    pub(super) fn window(&mut self, window: &nodes::WindowDef) {
        let nodes::WindowDef {
            name: _,
            refname: _,
            partition_clause,
            order_clause,
            frame_options: _,
            start_offset,
            end_offset,
            location: _,
        } = window;
        self.expressions(partition_clause);
        self.expressions(order_clause);
        self.maybe(start_offset.as_deref());
        self.maybe(end_offset.as_deref());
    }

    pub(super) fn sort(&mut self, sort: &nodes::SortBy) {
        let nodes::SortBy {
            node,
            sortby_dir: _,
            sortby_nulls: _,
            use_op,
            location: _,
        } = sort;
        self.operator(use_op);
        self.maybe(node.as_deref());
    }

    /// `(value).field`, `value[1]`, `(row).*`.
    fn indirection(&mut self, indirection: &nodes::AIndirection) {
        let nodes::AIndirection {
            arg,
            indirection: steps,
        } = indirection;
        let mut steps = steps.as_slice();
        let row = match arg.as_deref() {
            Some(Node {
                node: Some(NodeEnum::ColumnRef(nodes::ColumnRef { fields, location: _ })),
            }) => match fields.as_slice() {
                [only] => string(only),
                _ => None,
            },
            _ => None,
        };
        let field = match steps.first().map(|step| &step.node) {
            Some(Some(NodeEnum::String(nodes::String { sval }))) => Some(Some(sval.as_str())),
            Some(Some(NodeEnum::AStar(nodes::AStar {}))) => Some(None),
            _ => None,
        };
        if let (Some(row), Some(field)) = (row, field)
            && self.row_field(row, field)
        {
            steps = steps.get(1..).unwrap_or_default();
        } else {
            self.maybe(arg.as_deref());
        }
        self.subscripts(steps);
    }

    /// Subscripts and field names behind a value or a target column.
    pub(super) fn subscripts(&mut self, steps: &[Node]) {
        for step in steps {
            match &step.node {
                Some(NodeEnum::AIndices(indices)) => {
                    let nodes::AIndices {
                        is_slice: _,
                        lidx,
                        uidx,
                    } = &**indices;
                    self.maybe(lidx.as_deref());
                    self.maybe(uidx.as_deref());
                }
                Some(NodeEnum::String(nodes::String { sval })) => {
                    self.loud();
                    self.attribute(sval);
                }
                Some(NodeEnum::AStar(nodes::AStar {})) => {}
                _ => self.opaque("an unknown subscript"),
            }
        }
    }

    fn array(&mut self, array: &nodes::AArrayExpr) {
        let nodes::AArrayExpr {
            elements,
            list_start: _,
            list_end: _,
            location: _,
        } = array;
        self.expressions(elements);
    }

    fn sub_query(&mut self, link: &nodes::SubLink) {
        let nodes::SubLink {
            xpr: _,
            sub_link_type,
            sub_link_id: _,
            testexpr,
            oper_name,
            subselect,
            location: _,
        } = link;
        match SubLinkType::try_from(*sub_link_type) {
            Ok(SubLinkType::ExistsSublink | SubLinkType::ArraySublink) => {}
            // More than one row is an error.
            Ok(SubLinkType::ExprSublink) => self.loud(),
            Ok(SubLinkType::AnySublink | SubLinkType::AllSublink) => {
                if oper_name.is_empty() {
                    self.plain_operator("=");
                }
                self.operator(oper_name);
                if !oper_name.is_empty() {
                    self.loud_operator(oper_name);
                }
            }
            _ => self.opaque("a sub-query of an unknown kind"),
        }
        self.maybe(testexpr.as_deref());
        match subselect {
            Some(query) => {
                self.query(query);
            }
            None => self.opaque("a sub-query without its query"),
        }
    }

    fn case(&mut self, case: &nodes::CaseExpr) {
        let nodes::CaseExpr {
            xpr: _,
            casetype: _,
            casecollid: _,
            arg,
            args,
            defresult,
            location: _,
        } = case;
        if arg.is_some() {
            self.plain_operator("=");
        }
        self.maybe(arg.as_deref());
        for when in args {
            match &when.node {
                Some(NodeEnum::CaseWhen(when)) => {
                    let nodes::CaseWhen {
                        xpr: _,
                        expr,
                        result,
                        location: _,
                    } = &**when;
                    self.maybe(expr.as_deref());
                    self.maybe(result.as_deref());
                }
                _ => self.opaque("CASE without WHEN"),
            }
        }
        self.maybe(defresult.as_deref());
    }

    fn coalesce(&mut self, coalesce: &nodes::CoalesceExpr) {
        let nodes::CoalesceExpr {
            xpr: _,
            coalescetype: _,
            coalescecollid: _,
            args,
            location: _,
        } = coalesce;
        self.expressions(args);
    }

    fn extreme(&mut self, extreme: &nodes::MinMaxExpr) {
        let nodes::MinMaxExpr {
            xpr: _,
            minmaxtype: _,
            minmaxcollid: _,
            inputcollid: _,
            op: _,
            args,
            location: _,
        } = extreme;
        self.expressions(args);
    }

    fn null_test(&mut self, test: &nodes::NullTest) {
        let nodes::NullTest {
            xpr: _,
            arg,
            nulltesttype: _,
            argisrow: _,
            location: _,
        } = test;
        self.maybe(arg.as_deref());
    }

    fn boolean_test(&mut self, test: &nodes::BooleanTest) {
        let nodes::BooleanTest {
            xpr: _,
            arg,
            booltesttype: _,
            location: _,
        } = test;
        self.maybe(arg.as_deref());
    }

    fn row(&mut self, row: &nodes::RowExpr) {
        let nodes::RowExpr {
            xpr: _,
            args,
            row_typeid: _,
            row_format: _,
            colnames: _,
            location: _,
        } = row;
        self.odd = true;
        for arg in args {
            self.value(arg);
        }
    }

    fn grouping(&mut self, grouping: &nodes::GroupingFunc) {
        let nodes::GroupingFunc {
            xpr: _,
            args,
            refs: _,
            agglevelsup: _,
            location: _,
        } = grouping;
        self.expressions(args);
    }

    fn grouping_set(&mut self, set: &nodes::GroupingSet) {
        let nodes::GroupingSet {
            kind: _,
            content,
            location: _,
        } = set;
        self.expressions(content);
    }

    fn named_argument(&mut self, argument: &nodes::NamedArgExpr) {
        let nodes::NamedArgExpr {
            xpr: _,
            arg,
            name: _,
            argnumber: _,
            location: _,
        } = argument;
        self.maybe(arg.as_deref());
    }

    fn multiple_assignment(&mut self, assign: &nodes::MultiAssignRef) {
        let nodes::MultiAssignRef {
            source,
            colno,
            ncolumns: _,
        } = assign;
        // Every column carries the whole source; the first is enough.
        if *colno == 1 {
            self.maybe(source.as_deref());
        }
    }

    fn current_of(&mut self, current: &nodes::CurrentOfExpr) {
        // The cursor was judged when it was declared.
        let nodes::CurrentOfExpr {
            xpr: _,
            cvarno: _,
            cursor_name: _,
            cursor_param,
        } = current;
        if *cursor_param != 0 {
            self.opaque("a cursor named by a parameter");
        }
    }
}
