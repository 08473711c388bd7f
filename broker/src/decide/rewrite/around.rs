//! What gets at raw values past FROM: the catalogs and views that hold some, functions that read what they are told in a
//! text, what a job would define itself, and what tells of a value by the place where its row lies.

use super::{Masked, place};
use crate::decide::Denial;
use crate::decide::reason::{self, relation, verb};
use crate::decide::sights;
use crate::mask::Mask;
use crate::policy::MaskRule;
use crate::sql::{Class, Columns, FunctionName, Kind, Reached, Relation, Statement, Touch};

/// What PostgreSQL keeps of values and of the texts of statements: the relation, and the column where only one shows some.
const KEPT: &[(&str, Option<&str>, &str)] = &[
    ("pg_statistic", None, STATISTICS),
    ("pg_statistic_ext_data", None, STATISTICS),
    ("pg_stats", None, STATISTICS),
    ("pg_stats_ext", None, STATISTICS),
    ("pg_stats_ext_exprs", None, STATISTICS),
    (
        "pg_attribute",
        Some(MISSING),
        "what a column holds in rows older than itself is a raw value",
    ),
    (
        "pg_stat_activity",
        Some("query"),
        "what other sessions run may quote raw values of masked columns",
    ),
];
/// Where the value stands that rows older than their column have in it.
const MISSING: &str = "attmissingval";
const STATISTICS: &str = "the planner's statistics hold raw values of masked columns";

/// Functions that read relations whose names, or run queries whose texts, are values, and those that read the server's
/// files: raw values are in what they give, whoever names them.
const AROUND: &[&str] = &[
    "cursor_to_xml",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "lo_import",
    "pg_logical_slot_get_binary_changes",
    "pg_logical_slot_get_changes",
    "pg_logical_slot_peek_binary_changes",
    "pg_logical_slot_peek_changes",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_read_file_old",
    "pg_stat_get_activity",
    "pg_stat_get_backend_activity",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "ts_rewrite",
    "ts_stat",
];

/// Functions of PostgreSQL's own extensions that do the same, in whatever schema they are.
const EXTENSIONS: &[&str] = &[
    "brin_page_items",
    "bt_page_items",
    "connectby",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "get_raw_page",
    "gist_page_items",
    "gist_page_items_bytea",
    "heap_page_item_attrs",
    "heap_page_items",
    "pg_file_read",
    "pg_get_wal_block_info",
    "pg_get_wal_record_info",
    "pg_get_wal_records_info",
    "tuple_data_split",
    "xpath_table",
];

impl Masked<'_> {
    /// What no statement of a scope with masks may touch.
    pub(super) fn around(&self, touch: &Touch) -> Result<(), Box<Denial>> {
        let Some(first) = self.scope.masks.first() else {
            return Ok(());
        };
        let asked = format!("{} {}", verb(touch.class), relation(touch));
        let kept = KEPT.iter().find(|(name, column, _)| {
            let shows = |column: &str| match &touch.columns {
                Columns::Whole => true,
                Columns::Named(named) => named.iter().any(|name| name == column),
            };
            let kept = |column: &str| shows(column) && (column != MISSING || self.keeps());
            touch.schema == "pg_catalog" && touch.name == *name && column.is_none_or(kept)
        });
        if let Some((_, _, why)) = kept {
            return Err(self.deny(&first.origin, &asked, (*why).to_owned(), "leave it out"));
        }
        let code = matches!(
            touch.kind,
            Kind::Function | Kind::DefinerFunction | Kind::Trigger | Kind::Policy | Kind::Operator | Kind::Cast
        );
        if code && matches!(touch.class, Class::Create | Class::Alter) {
            let detail = "code that the job writes itself could read raw values of masked columns".to_owned();
            let hint = "define it under a scope that masks nothing";
            return Err(self.deny(&first.origin, &asked, detail, hint));
        }
        if let Some(strayed) = self.strayed.get(&(touch.schema.as_str(), touch.name.as_str())) {
            return Err(sights::stray(touch, *strayed, self.scope));
        }
        if let Some(rule) = self.broken.get(&(touch.schema.as_str(), touch.name.as_str())) {
            let detail = format!(
                "the policy masks {}.{}.{}, and there is no such column: nobody knows which one is meant",
                rule.schema, rule.table, rule.column
            );
            return Err(self.deny(&rule.origin, &asked, detail, "correct the column's name in `mask`"));
        }
        if let Some(rule) = self.meant(touch) {
            let detail = format!(
                "the policy masks {}.{}.{}, and there is no such table: it may be this one, under another name",
                rule.schema, rule.table, rule.column
            );
            let hint = "correct the table's name in `mask`, or name this table in `can` without a glob";
            return Err(self.deny(&rule.origin, &asked, detail, hint));
        }
        Ok(())
    }

    /// Some column that nobody may see raw has its value for older rows in the catalog.
    fn keeps(&self) -> bool {
        self.columns.iter().any(|(place, masks)| {
            let fresh = self.fresh.get(place);
            let relation = self.snapshot.relation(place.0, place.1);
            relation.is_some_and(|relation| {
                let mut facts = relation.columns.iter().zip(&relation.facts);
                facts.any(|(name, fact)| {
                    let name = name.as_str();
                    fact.kept && (masks.contains_key(name) || fresh.is_some_and(|fresh| fresh.contains_key(name)))
                })
            })
        })
    }

    /// What takes a mask off, or tries a check on values that nobody may read.
    pub(super) fn off_the_mask(&self, statement: &Statement) -> Result<(), Box<Denial>> {
        // Without any memory, as in a judgement ahead of time, nothing is new.
        let remembers = self.snapshot.bound.all().next().is_some();
        for (schema, name) in statement.leaves.iter().filter(|_| remembers) {
            let remembered = |relation: &Relation| self.snapshot.bound.of("", relation.oid).next().is_some();
            let known = self.snapshot.relation(schema, name).is_some_and(remembered);
            if let Some(rule) = self.of(schema, name).and_then(|masks| masks.values().next())
                && !known
            {
                let asked = format!("{} {}", verb(statement.class), reason::name(schema, name));
                let detail =
                    "its masks are those of its parent, and it is too new for them to be remembered".to_owned();
                let hint = "wait some seconds after what made it was committed";
                return Err(self.deny(&rule.origin, &asked, detail, hint));
            }
        }
        if let (Some((schema, name)), Some(first)) = (statement.tried.first(), self.scope.masks.first()) {
            let asked = format!("{} {}", verb(statement.class), reason::name(schema, name));
            let detail =
                "a new check of a domain is tried on every value there is, raw ones of masked columns among them";
            let hint = "add it NOT VALID, or under a scope that masks nothing";
            return Err(self.deny(&first.origin, &asked, detail.to_owned(), hint));
        }
        Ok(())
    }

    /// What reads relations of which no rule knows.
    pub(super) fn past_the_rules(&self, statement: &Statement) -> Result<(), Box<Denial>> {
        let around = |function: &&FunctionName| {
            let name = function.name.as_str();
            match function.schema.as_str() {
                "pg_catalog" => AROUND.contains(&name),
                _ => EXTENSIONS.contains(&name) || name.starts_with("dblink"),
            }
        };
        let function = statement.functions.iter().find(around);
        let (Some(function), Some(first)) = (function, self.scope.masks.first()) else {
            return Ok(());
        };
        let asked = format!("function {}", reason::name(&function.schema, &function.name));
        let detail = "it reads what no rule sees, raw values of masked columns among it".to_owned();
        Err(self.deny(&first.origin, &asked, detail, "read the table in FROM"))
    }

    /// A date that the job puts down itself, or moves to another key, shows how far the dates of its row are moved.
    pub(super) fn moved_dates(&self, statement: &Statement) -> Result<(), Box<Denial>> {
        let moves = |rule: &MaskRule| matches!(rule.mask, Mask::DateShift { .. });
        if !self.scope.masks.iter().any(moves) {
            return Ok(());
        }
        let behind = statement.implied.iter().filter_map(|implied| match &implied.reached {
            Reached::Touch(touch) => Some(self.behind(implied, touch)),
            Reached::Call(_) => None,
        });
        for touch in statement.touches.iter().cloned().chain(behind) {
            let writes = matches!(
                touch.class,
                Class::Insert | Class::Update | Class::Merge | Class::CopyIn
            );
            let own = self.snapshot.relation(&touch.schema, &touch.name);
            let Some(own) = own.filter(|_| writes && touch.kind == Kind::Relation) else {
                continue;
            };
            let named = |column: &String| match &touch.columns {
                Columns::Whole => true,
                Columns::Named(named) => named.contains(column),
            };
            let key = matches!(touch.class, Class::Update | Class::Merge) && own.key.iter().any(named);
            let masks = self.columns.get(&place(own)).into_iter().flatten();
            let mut dates = masks.filter(|(_, rule)| moves(rule));
            if let Some((column, rule)) = dates.find(|(column, _)| key || named(&(**column).to_owned())) {
                let asked = format!("{} {} ({column})", verb(touch.class), relation(&touch));
                let detail = format!(
                    "{}.{column} is masked by date-shift: who writes it, or another key, learns how far the dates of the row are moved",
                    relation(&touch)
                );
                let hint = "mask it by bucket, which may be written, or write it under a scope that does not mask it; other columns of the row may be written here";
                return Err(self.deny(&rule.origin, &asked, detail, hint));
            }
        }
        Ok(())
    }

    /// Where a masked column chooses the partition of a row, the partition tells of the value: nobody learns which row is in
    /// which one.
    pub(super) fn by_partition(&self, statement: &Statement) -> Result<(), Box<Denial>> {
        for touch in statement.touched() {
            let rows = matches!(
                touch.class,
                Class::Select | Class::CopyOut | Class::Update | Class::Delete | Class::Merge
            );
            let Some(own) = self.snapshot.relation(&touch.schema, &touch.name).filter(|_| rows) else {
                continue;
            };
            let names_it = statement.direct.iter().any(|read| {
                let tableoid = |columns: &Vec<String>| columns.iter().any(|column| column == "tableoid");
                let named = matches!(&read.columns, Columns::Named(columns) if tableoid(columns));
                named && read.schema == touch.schema && read.name == touch.name
            });
            let shown = (names_it || statement.class == Class::Explain).then_some(own);
            let split = self.snapshot.ancestors(own).into_iter().chain(shown);
            for table in split {
                let masks = self.columns.get(&place(table));
                let chooses = |column: &&String| masks.is_some_and(|masks| masks.contains_key(column.as_str()));
                let Some(column) = table.attached.keys.iter().find(chooses) else {
                    continue;
                };
                let Some(rule) = masks.and_then(|masks| masks.get(column.as_str())) else {
                    continue;
                };
                let whole = reason::name(&table.schema, &table.name);
                let asked = format!("{} {}", verb(statement.class), relation(touch));
                let detail = format!(
                    "{whole}.{column} is masked and chooses the partition: which row is in which one tells of it"
                );
                return Err(self.deny(
                    &rule.origin,
                    &asked,
                    detail,
                    &format!("read {whole} itself, without EXPLAIN and tableoid"),
                ));
            }
        }
        Ok(())
    }
}
