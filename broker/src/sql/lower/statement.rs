//! One statement, by its kind.

use super::Walk;
use crate::sql::grammar::{self, Fate, NodeEnum, nodes};
use crate::sql::{Block, Class};

impl Walk<'_> {
    /// Lowers a whole statement. What is not named here is opaque.
    pub(super) fn statement(&mut self, node: &nodes::Node) {
        let Some(statement) = &node.node else {
            self.opaque("an empty statement");
            return;
        };
        self.replaceable = is_replaceable(statement);
        match statement {
            NodeEnum::SelectStmt(select) => {
                self.select(select);
            }
            NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_) | NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_) => {
                self.class = class_of(statement);
                self.query(node);
            }
            NodeEnum::TruncateStmt(truncate) => self.truncate(truncate),
            NodeEnum::CopyStmt(copy) => self.copy(copy),
            NodeEnum::CreateStmt(create) => self.create_table(create),
            NodeEnum::CreateTableAsStmt(create) => self.create_table_as(create),
            NodeEnum::IndexStmt(index) => self.create_index(index),
            NodeEnum::ViewStmt(view) => self.create_view(view),
            NodeEnum::CreateSeqStmt(create) => self.create_sequence(create),
            NodeEnum::CreateEnumStmt(create) => self.create_enum(create),
            NodeEnum::AlterTableStmt(alter) => self.alter_table(alter),
            NodeEnum::AlterSeqStmt(alter) => self.alter_sequence(alter),
            NodeEnum::AlterEnumStmt(alter) => self.alter_enum(alter),
            NodeEnum::RenameStmt(rename) => self.rename(rename),
            NodeEnum::DropStmt(drop) => self.drop_objects(drop),
            NodeEnum::CommentStmt(comment) => self.comment(comment),
            NodeEnum::RefreshMatViewStmt(refresh) => self.refresh(refresh),
            NodeEnum::VacuumStmt(vacuum) => self.vacuum(vacuum),
            NodeEnum::ReindexStmt(reindex) => self.reindex(reindex),
            NodeEnum::ClusterStmt(cluster) => self.cluster(cluster),
            NodeEnum::LockStmt(lock) => self.lock(lock),
            other => self.definition_statement(other),
        }
    }

    /// Statements about objects of other kinds.
    fn definition_statement(&mut self, statement: &NodeEnum) {
        match statement {
            NodeEnum::CreateFunctionStmt(create) => self.create_function(create),
            NodeEnum::AlterFunctionStmt(alter) => self.alter_function(alter),
            NodeEnum::CreateTrigStmt(create) => self.create_trigger(create),
            NodeEnum::CreatePolicyStmt(create) => self.create_policy(create),
            NodeEnum::AlterPolicyStmt(alter) => self.alter_policy(alter),
            NodeEnum::CompositeTypeStmt(create) => self.create_composite(create),
            NodeEnum::CreateRangeStmt(create) => self.create_range(create),
            NodeEnum::CreateDomainStmt(create) => self.create_domain(create),
            NodeEnum::AlterDomainStmt(alter) => self.alter_domain(alter),
            NodeEnum::DefineStmt(define) => self.define(define),
            NodeEnum::CreateCastStmt(create) => self.create_cast(create),
            NodeEnum::CreateStatsStmt(create) => self.create_statistics(create),
            NodeEnum::CreateExtensionStmt(create) => self.create_extension(create),
            NodeEnum::AlterExtensionStmt(alter) => self.alter_extension(alter),
            NodeEnum::CreatePublicationStmt(create) => self.create_publication(create),
            NodeEnum::AlterObjectSchemaStmt(alter) => self.move_object(alter),
            NodeEnum::AlterOwnerStmt(alter) => self.change_owner(alter),
            other => self.session_statement(other),
        }
    }

    /// Statements about the session rather than about relations.
    fn session_statement(&mut self, statement: &NodeEnum) {
        match statement {
            NodeEnum::TransactionStmt(transaction) => self.transaction(transaction),
            NodeEnum::ConstraintsSetStmt(nodes::ConstraintsSetStmt {
                constraints: _,
                deferred: _,
            }) => {
                self.class = Class::Transaction;
                self.block = Block::Settles;
            }
            NodeEnum::VariableSetStmt(set) => self.set(set),
            NodeEnum::DiscardStmt(discard) => self.discard(*discard),
            NodeEnum::GrantStmt(grant) => self.grant(grant),
            NodeEnum::CreateSchemaStmt(create) => self.create_schema(create),
            NodeEnum::CallStmt(call) => self.call_procedure(call),
            NodeEnum::DoStmt(block) => self.anonymous_block(block),
            NodeEnum::VariableShowStmt(nodes::VariableShowStmt { name }) => {
                self.class = Class::Show;
                self.setting(name, None);
            }
            NodeEnum::ExplainStmt(explain) => self.explain(explain),
            NodeEnum::PrepareStmt(prepare) => self.prepare(prepare),
            NodeEnum::ExecuteStmt(execute) => self.execute(execute),
            NodeEnum::DeallocateStmt(deallocate) => self.deallocate(deallocate),
            NodeEnum::DeclareCursorStmt(declare) => self.declare(declare),
            NodeEnum::FetchStmt(fetch) => self.fetch(fetch),
            NodeEnum::ClosePortalStmt(nodes::ClosePortalStmt { portalname }) => self.close(portalname),
            NodeEnum::ListenStmt(nodes::ListenStmt { conditionname: _ }) => self.class = Class::Listen,
            // It only takes away: drivers send it when they put a connection back into a pool.
            NodeEnum::UnlistenStmt(nodes::UnlistenStmt { conditionname: _ }) => self.class = Class::Set,
            NodeEnum::NotifyStmt(nodes::NotifyStmt {
                conditionname: _,
                payload: _,
                payload_location: _,
            }) => {
                self.class = Class::Notify;
                self.changes();
            }
            other => {
                self.class = class_of(other);
                self.changes_schema();
                self.opaque(match grammar::fate(other) {
                    Fate::Opaque(why) => format!("{}: {why}", grammar::name(other)),
                    Fate::Lowered | Fate::Part | Fate::Inner => format!("{} as a statement", grammar::name(other)),
                });
            }
        }
    }
}

/// The class of a statement that is opaque as a whole, and of the plain writes.
fn class_of(statement: &NodeEnum) -> Class {
    match statement {
        NodeEnum::InsertStmt(_) => Class::Insert,
        NodeEnum::UpdateStmt(_) => Class::Update,
        NodeEnum::DeleteStmt(_) => Class::Delete,
        NodeEnum::MergeStmt(_) => Class::Merge,
        NodeEnum::DoStmt(_) => Class::Do,
        NodeEnum::CallStmt(_) => Class::Call,
        NodeEnum::GrantStmt(_) | NodeEnum::GrantRoleStmt(_) | NodeEnum::AlterDefaultPrivilegesStmt(_) => Class::Grant,
        NodeEnum::DiscardStmt(_) | NodeEnum::LoadStmt(_) => Class::Set,
        NodeEnum::CheckPointStmt(_) => Class::Maintain,
        other => {
            let kind = grammar::name(other);
            if kind.starts_with("Drop") {
                Class::Drop
            } else if kind.starts_with("Alter") {
                Class::Alter
            } else {
                Class::Create
            }
        }
    }
}

/// Statements that read rows once, now: what is defined over a relation would read it for everybody, later.
fn is_replaceable(statement: &NodeEnum) -> bool {
    matches!(
        statement,
        NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)
            | NodeEnum::CopyStmt(_)
            | NodeEnum::CreateTableAsStmt(_)
            | NodeEnum::ExplainStmt(_)
            | NodeEnum::PrepareStmt(_)
            | NodeEnum::DeclareCursorStmt(_)
    )
}
