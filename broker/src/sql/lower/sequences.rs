//! Functions that take the name of a sequence, and a query that pins the name of a setting.

use super::Walk;
use super::literal::text_literal;
use super::names::strings;
use super::scope::{Item, Output};
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, AExprKind, Node};
use crate::sql::{Class, Relation, settings};

impl<'a> Walk<'a> {
    /// `nextval`, `setval` and `currval` of a sequence that is named by a constant touch it like UPDATE and SELECT; then
    /// the call itself needs no rule. True when it is settled that way.
    pub(super) fn sequence_call(&mut self, name: &str, args: &[Node]) -> bool {
        let Some(sequence) = args.first().and_then(|first| self.sequence(first)) else {
            return false;
        };
        if name == "currval" {
            self.touch_relation(Class::Select, sequence);
        } else {
            self.changes();
            self.touch_relation(Class::Update, sequence);
        }
        self.is_catalog_only(name)
    }

    /// The sequence that an argument means: `'app.s'`, `'app.s'::regclass`, or the one behind a column, by its table.
    fn sequence(&mut self, node: &Node) -> Option<&'a Relation> {
        match &node.node {
            Some(NodeEnum::FuncCall(call)) => {
                let names = strings(&call.funcname)?;
                let serial = matches!(
                    names.as_slice(),
                    ["pg_get_serial_sequence"] | ["pg_catalog", "pg_get_serial_sequence"]
                );
                if !serial || !self.is_catalog_only("pg_get_serial_sequence") {
                    return None;
                }
                self.named_by(call.args.first()?)
            }
            Some(NodeEnum::TypeCast(cast)) => {
                let names = strings(&cast.type_name.as_ref()?.names)?;
                match names.as_slice() {
                    ["regclass"] | ["pg_catalog", "regclass"] => self.named_by(cast.arg.as_deref()?),
                    _ => self.named_by(node),
                }
            }
            _ => self.named_by(node),
        }
    }

    /// The relation that a constant text names.
    fn named_by(&mut self, node: &Node) -> Option<&'a Relation> {
        let path = settings::names(text_literal(node)?, '.')?;
        match path.as_slice() {
            [name] => self.snapshot.resolve_relation(name),
            [schema, name] => self.snapshot.relation(schema, name),
            _ => None,
        }
    }

    /// `FROM pg_settings WHERE name = 'x'`: every row's name is that one. pg_dump sets a setting that way, because older
    /// servers lack it.
    pub(super) fn pinned_setting(&self, from: &[Node], condition: Option<&Node>) -> Option<String> {
        let [only] = from else { return None };
        let Some(NodeEnum::RangeVar(range)) = &only.node else {
            return None;
        };
        let settings = match range.schemaname.as_str() {
            "" => self.snapshot.resolve_relation(&range.relname)?,
            schema => self.snapshot.relation(schema, &range.relname)?,
        };
        let plain = range.alias.is_none() && range.catalogname.is_empty();
        if !plain || settings.schema != "pg_catalog" || settings.name != "pg_settings" {
            return None;
        }
        let Some(NodeEnum::AExpr(comparison)) = &condition?.node else {
            return None;
        };
        let nodes::AExpr {
            kind,
            name,
            lexpr,
            rexpr,
            rexpr_list_start: _,
            rexpr_list_end: _,
            location: _,
        } = &**comparison;
        let equal = AExprKind::try_from(*kind) == Ok(AExprKind::AexprOp)
            && strings(name)? == ["="]
            && !self.snapshot.user_operators.contains_key("=");
        let Some(NodeEnum::ColumnRef(column)) = &lexpr.as_deref()?.node else {
            return None;
        };
        if !equal || strings(&column.fields)? != ["name"] {
            return None;
        }
        text_literal(rexpr.as_deref()?).map(str::to_owned)
    }

    /// The row of `pg_settings` about a setting that SHOW may read as well: pgjdbc and Liquibase look there.
    pub(super) fn one_setting(&mut self, name: &str) {
        let columns = self.snapshot.relation("pg_catalog", "pg_settings");
        let output = Output {
            names: columns.map(|view| view.columns.clone()).unwrap_or_default(),
            open: false,
        };
        self.setting(name, None);
        self.add_item(Item::computed("pg_settings", &output));
    }
}
