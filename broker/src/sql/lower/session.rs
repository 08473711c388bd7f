//! Transactions, settings, prepared statements, cursors, EXPLAIN, locks and maintenance.

use super::Walk;
use super::names::option;
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, DiscardMode, Node, ReindexObjectType, TransactionStmtKind, VariableSetKind};
use crate::sql::{Barrier, Block, Class, Effect, Names, Uncounted};

/// The lock that reading takes (`AccessShareLock`).
const ACCESS_SHARE: i32 = 1;

/// PostgreSQL's `CURSOR_OPT_BINARY`.
const BINARY: i32 = 0x1;
/// PostgreSQL's `CURSOR_OPT_HOLD`.
const HOLD: i32 = 0x20;

/// What EXPLAIN may be asked to show.
const EXPLAIN_OPTIONS: &[&str] = &[
    "analyze",
    "buffers",
    "costs",
    "format",
    "generic_plan",
    "memory",
    "serialize",
    "settings",
    "summary",
    "timing",
    "verbose",
    "wal",
];

impl Walk<'_> {
    pub(super) fn transaction(&mut self, transaction: &nodes::TransactionStmt) {
        let nodes::TransactionStmt {
            kind,
            options,
            savepoint_name: _,
            gid: _,
            chain,
            location: _,
        } = transaction;
        self.class = Class::Transaction;
        let kind = TransactionStmtKind::try_from(*kind);
        self.block = match kind {
            Ok(TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart) => Block::Opens,
            Ok(TransactionStmtKind::TransStmtCommit) => Block::Commits { chains: *chain },
            Ok(TransactionStmtKind::TransStmtPrepare) => Block::Commits { chains: false },
            Ok(TransactionStmtKind::TransStmtRollback) if !chain => Block::Drops,
            _ => Block::Same,
        };
        match kind {
            Ok(
                TransactionStmtKind::TransStmtBegin
                | TransactionStmtKind::TransStmtStart
                | TransactionStmtKind::TransStmtSavepoint
                | TransactionStmtKind::TransStmtRelease,
            ) => {}
            Ok(
                TransactionStmtKind::TransStmtCommit
                | TransactionStmtKind::TransStmtRollback
                | TransactionStmtKind::TransStmtRollbackTo,
            ) => {
                self.barrier = Barrier::Rollback;
            }
            Ok(
                TransactionStmtKind::TransStmtPrepare
                | TransactionStmtKind::TransStmtCommitPrepared
                | TransactionStmtKind::TransStmtRollbackPrepared,
            ) => {
                self.class = Class::TwoPhase;
                self.changes_schema();
            }
            Ok(TransactionStmtKind::Undefined) | Err(_) => self.opaque("a transaction statement of an unknown kind"),
        }
        self.transaction_modes("", options);
    }

    /// ISOLATION LEVEL, READ ONLY, DEFERRABLE as settings.
    fn transaction_modes(&mut self, prefix: &str, modes: &[Node]) {
        for node in modes {
            let (name, value) = match option(node) {
                Some((
                    name @ ("transaction_isolation" | "transaction_read_only" | "transaction_deferrable"),
                    Some(value),
                )) => (name, constant(value)),
                _ => ("", None),
            };
            match (name, value.as_deref()) {
                (_, None) => self.opaque("a transaction mode of an unknown kind"),
                ("transaction_isolation", Some(_)) => self.setting(&format!("{prefix}{name}"), value),
                // The grammar gives the truth values as numbers.
                (_, Some("0")) => self.setting(&format!("{prefix}{name}"), Some("off".to_owned())),
                (_, Some(_)) => self.setting(&format!("{prefix}{name}"), Some("on".to_owned())),
            }
        }
    }

    pub(super) fn set(&mut self, set: &nodes::VariableSetStmt) {
        let nodes::VariableSetStmt {
            kind,
            name,
            args,
            jumble_args: _,
            is_local: _,
            location: _,
        } = set;
        self.class = Class::Set;
        match VariableSetKind::try_from(*kind) {
            Ok(VariableSetKind::VarSetValue) => {
                let values: Option<Vec<String>> = args.iter().map(constant).collect();
                match values {
                    Some(values) if name.eq_ignore_ascii_case("search_path") => {
                        let quoted: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                        self.setting(name, Some(quoted.join(", ")));
                    }
                    // Whom the session is already: Flyway says so after every migration.
                    Some(values) if name.eq_ignore_ascii_case("role") && values == [self.snapshot.user.as_str()] => {}
                    Some(values) => self.setting(name, Some(values.join(", "))),
                    None => self.opaque("SET to something that is not a constant"),
                }
            }
            Ok(VariableSetKind::VarSetDefault | VariableSetKind::VarReset) => self.setting(name, None),
            Ok(VariableSetKind::VarResetAll) => {
                self.setting("all", None);
                // The search path may be another one again.
                self.barrier = Barrier::Rollback;
            }
            Ok(VariableSetKind::VarSetMulti) => match name.as_str() {
                "TRANSACTION" => self.transaction_modes("", args),
                "SESSION CHARACTERISTICS" => self.transaction_modes("default_", args),
                _ => self.opaque("a transaction snapshot"),
            },
            Ok(VariableSetKind::VarSetCurrent | VariableSetKind::Undefined) | Err(_) => {
                self.opaque("SET of an unknown kind");
            }
        }
    }

    /// DISCARD. ALL is each of the others and RESET ALL, CLOSE ALL, DEALLOCATE ALL, UNLISTEN and the end of advisory
    /// locks, all of which are free. It also leaves the role: the session enters it again before anything else is sent.
    pub(super) fn discard(&mut self, discard: nodes::DiscardStmt) {
        let nodes::DiscardStmt { target } = discard;
        self.class = Class::Set;
        match DiscardMode::try_from(target) {
            Ok(DiscardMode::DiscardPlans | DiscardMode::DiscardSequences) => {}
            Ok(DiscardMode::DiscardTemp) => self.changes_schema(),
            Ok(DiscardMode::DiscardAll) => {
                self.setting("all", None);
                self.barrier = Barrier::Discard;
            }
            Ok(DiscardMode::Undefined) | Err(_) => self.opaque("DISCARD of an unknown kind"),
        }
    }

    pub(super) fn explain(&mut self, explain: &nodes::ExplainStmt) {
        let nodes::ExplainStmt { query, options } = explain;
        for node in options {
            match option(node) {
                Some((name, _)) if EXPLAIN_OPTIONS.contains(&name) => {}
                _ => self.opaque("an EXPLAIN option of an unknown kind"),
            }
        }
        let first = self.sources.len();
        match query {
            Some(query) => self.wrapped(query),
            None => self.opaque("EXPLAIN of nothing"),
        }
        if options
            .iter()
            .filter_map(option)
            .any(|(name, _)| name.eq_ignore_ascii_case("verbose"))
        {
            self.binds_sources(first, "EXPLAIN VERBOSE shows what the values are made of");
        }
        self.class = Class::Explain;
    }

    /// What EXPLAIN, PREPARE and DECLARE wrap: it counts in full.
    fn wrapped(&mut self, node: &Node) {
        match &node.node {
            Some(
                NodeEnum::SelectStmt(_)
                | NodeEnum::InsertStmt(_)
                | NodeEnum::UpdateStmt(_)
                | NodeEnum::DeleteStmt(_)
                | NodeEnum::MergeStmt(_)
                | NodeEnum::CreateTableAsStmt(_)
                | NodeEnum::ExecuteStmt(_),
            ) => self.statement(node),
            _ => self.opaque("a statement that cannot be wrapped"),
        }
    }

    pub(super) fn prepare(&mut self, prepare: &nodes::PrepareStmt) {
        let nodes::PrepareStmt { name, argtypes, query } = prepare;
        for node in argtypes {
            match &node.node {
                // What EXECUTE passes may be cast to it.
                Some(NodeEnum::TypeName(argument)) => {
                    if let Some((schema, name)) = self.type_name(Some(argument)) {
                        self.calls(&schema, &name);
                    }
                }
                _ => self.opaque("a parameter type of an unknown kind"),
            }
        }
        match query {
            Some(query) => self.wrapped(query),
            None => self.opaque("PREPARE of nothing"),
        }
        self.asks_anything();
        self.class = Class::Prepare;
        self.names = Names::Prepare(name.clone());
    }

    pub(super) fn execute(&mut self, execute: &nodes::ExecuteStmt) {
        let nodes::ExecuteStmt { name, params } = execute;
        self.class = Class::Prepare;
        self.changes();
        self.names = Names::Execute(name.clone());
        self.expressions(params);
    }

    pub(super) fn deallocate(&mut self, deallocate: &nodes::DeallocateStmt) {
        let nodes::DeallocateStmt {
            name,
            isall,
            location: _,
        } = deallocate;
        self.class = Class::Prepare;
        self.names = Names::Deallocate(if *isall { None } else { Some(name.clone()) });
    }

    pub(super) fn declare(&mut self, declare: &nodes::DeclareCursorStmt) {
        let nodes::DeclareCursorStmt {
            portalname,
            options,
            query,
        } = declare;
        match query {
            Some(query) => self.wrapped(query),
            None => self.opaque("DECLARE of nothing"),
        }
        if options & HOLD != 0 && self.effect == Effect::Change {
            self.uncounted = Some(Uncounted::Hold);
        }
        self.class = Class::Cursor;
        self.names = Names::Declare(portalname.clone(), options & BINARY != 0);
    }

    pub(super) fn fetch(&mut self, fetch: &nodes::FetchStmt) {
        let nodes::FetchStmt {
            direction: _,
            how_many: _,
            portalname,
            ismove: _,
        } = fetch;
        self.close(portalname);
    }

    /// CLOSE, and what else works on a cursor that was judged when it was declared.
    pub(super) fn close(&mut self, cursor: &str) {
        self.class = Class::Cursor;
        self.names = Names::Cursor(cursor.to_owned());
    }

    pub(super) fn lock(&mut self, lock: &nodes::LockStmt) {
        let nodes::LockStmt {
            relations,
            mode,
            nowait: _,
        } = lock;
        self.class = Class::Lock;
        self.changes();
        for node in relations {
            match &node.node {
                Some(NodeEnum::RangeVar(range)) => {
                    let relation = self.touch_target(Class::Lock, Some(range), false);
                    if let Some(relation) = relation.filter(|_| *mode == ACCESS_SHARE) {
                        self.locks(range, relation);
                    }
                }
                _ => self.opaque("LOCK of an unknown kind"),
            }
        }
    }

    pub(super) fn vacuum(&mut self, vacuum: &nodes::VacuumStmt) {
        let nodes::VacuumStmt {
            options: _,
            rels,
            is_vacuumcmd: _,
        } = vacuum;
        self.class = Class::Maintain;
        self.changes();
        if rels.is_empty() {
            self.opaque("VACUUM or ANALYZE of every table");
        }
        for node in rels {
            match &node.node {
                Some(NodeEnum::VacuumRelation(nodes::VacuumRelation {
                    relation,
                    oid: _,
                    va_cols: _,
                })) => {
                    self.touch_target(Class::Maintain, relation.as_ref(), false);
                }
                _ => self.opaque("VACUUM of an unknown kind"),
            }
        }
    }

    pub(super) fn reindex(&mut self, reindex: &nodes::ReindexStmt) {
        let nodes::ReindexStmt {
            kind,
            relation,
            name: _,
            params,
        } = reindex;
        self.class = Class::Maintain;
        self.changes();
        if params
            .iter()
            .any(|node| option(node).is_none_or(|(name, _)| name == "tablespace"))
        {
            self.opaque("REINDEX into a tablespace");
        }
        match ReindexObjectType::try_from(*kind) {
            Ok(ReindexObjectType::ReindexObjectIndex | ReindexObjectType::ReindexObjectTable) => {
                self.touch_target(Class::Maintain, relation.as_ref(), false);
            }
            _ => self.opaque("REINDEX of more than one table"),
        }
    }

    pub(super) fn cluster(&mut self, cluster: &nodes::ClusterStmt) {
        let nodes::ClusterStmt {
            relation,
            indexname,
            params: _,
        } = cluster;
        self.class = Class::Maintain;
        self.changes();
        if let Some(table) = self.touch_target(Class::Maintain, relation.as_ref(), false) {
            // The order in which the rows lie afterwards is that of the index; without a name it is the one used before.
            let index = self.index_of(indexname, table);
            self.looks_at(table, index.map_or(&table.columns, |index| &index.key));
        }
    }

    pub(super) fn refresh(&mut self, refresh: &nodes::RefreshMatViewStmt) {
        let nodes::RefreshMatViewStmt {
            concurrent,
            skip_data: _,
            relation,
        } = refresh;
        self.class = Class::Refresh;
        self.changes();
        if *concurrent {
            // The server compares old and new rows in a temporary table: the session has a temporary schema from now on.
            self.changes_schema();
        }
        self.touch_target(Class::Refresh, relation.as_ref(), false);
    }
}

/// A schema as the server puts it into the list: SET takes every value as one name.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A constant of a SET or of a transaction mode, as text.
fn constant(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::AConst(nodes::AConst {
            isnull: false,
            location: _,
            val,
        })) => match val.as_ref()? {
            nodes::a_const::Val::Ival(nodes::Integer { ival }) => Some(ival.to_string()),
            nodes::a_const::Val::Fval(nodes::Float { fval }) => Some(fval.clone()),
            nodes::a_const::Val::Boolval(nodes::Boolean { boolval }) => Some(boolval.to_string()),
            nodes::a_const::Val::Sval(nodes::String { sval }) => Some(sval.clone()),
            nodes::a_const::Val::Bsval(nodes::BitString { bsval: _ }) => None,
        },
        // `SET TIME ZONE INTERVAL '…'`.
        Some(NodeEnum::TypeCast(cast)) => constant(cast.arg.as_deref()?),
        _ => None,
    }
}
