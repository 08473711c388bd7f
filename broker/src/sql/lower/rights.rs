//! GRANT and REVOKE on relations, schemas, and the statements whose body is not SQL: CALL and DO.

use super::Walk;
use super::names::option;
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, GrantTargetType, Node, ObjectType, RoleSpecType};
use crate::sql::{Class, EVERYTHING, Kind};

impl Walk<'_> {
    /// Only on relations named one by one; never on for others to hand on.
    pub(super) fn grant(&mut self, grant: &nodes::GrantStmt) {
        let nodes::GrantStmt {
            is_grant,
            targtype,
            objtype,
            objects,
            privileges,
            grantees,
            grant_option,
            grantor,
            behavior: _,
        } = grant;
        self.class = Class::Grant;
        self.changes();
        if grantor.is_some() {
            self.opaque("GRANTED BY");
        }
        if *is_grant && *grant_option {
            self.opaque("WITH GRANT OPTION: what is granted on is out of the policy's reach");
        }
        for node in privileges {
            match &node.node {
                // Column privileges are less than those on the relation, as which all count.
                Some(NodeEnum::AccessPriv(nodes::AccessPriv { priv_name: _, cols: _ })) => {}
                _ => self.opaque("a privilege of an unknown kind"),
            }
        }
        for node in grantees {
            self.grantee(node, *is_grant);
        }
        let named = GrantTargetType::try_from(*targtype) == Ok(GrantTargetType::AclTargetObject);
        let relations = matches!(
            ObjectType::try_from(*objtype),
            Ok(ObjectType::ObjectTable | ObjectType::ObjectSequence)
        );
        if !named || !relations {
            self.opaque("GRANT or REVOKE on something that is not a relation named by itself");
            return;
        }
        for node in objects {
            match &node.node {
                Some(NodeEnum::RangeVar(range)) => {
                    if let Some(relation) = self.table(Some(range)) {
                        self.touch_relation(Class::Grant, relation);
                    }
                }
                _ => self.opaque("GRANT on a relation of an unknown kind"),
            }
        }
    }

    fn grantee(&mut self, node: &Node, is_grant: bool) {
        let Some(NodeEnum::RoleSpec(nodes::RoleSpec {
            roletype,
            rolename: _,
            location: _,
        })) = &node.node
        else {
            self.opaque("a role of an unknown kind");
            return;
        };
        match RoleSpecType::try_from(*roletype) {
            Ok(RoleSpecType::RolespecPublic) if is_grant => self.opaque("GRANT to PUBLIC"),
            Ok(RoleSpecType::Undefined) | Err(_) => self.opaque("a role of an unknown kind"),
            Ok(_) => {}
        }
    }

    /// CREATE SCHEMA: a rule has to cover everything that could stand in it.
    pub(super) fn create_schema(&mut self, create: &nodes::CreateSchemaStmt) {
        let nodes::CreateSchemaStmt {
            schemaname,
            authrole,
            schema_elts,
            if_not_exists: _,
        } = create;
        self.class = Class::Create;
        self.changes_schema();
        if authrole.is_some() {
            self.opaque("CREATE SCHEMA … AUTHORIZATION");
        }
        if !schema_elts.is_empty() {
            self.opaque("CREATE SCHEMA with what is to stand in it");
        }
        self.touch_object(Class::Create, Kind::Schema, schemaname, EVERYTHING);
    }

    /// CALL: what the procedure does is not read. The scope names the class and the procedure.
    pub(super) fn call_procedure(&mut self, call: &nodes::CallStmt) {
        let nodes::CallStmt {
            funccall,
            funcexpr,
            outargs,
        } = call;
        self.class = Class::Call;
        self.changes_schema();
        match funccall {
            Some(call) if funcexpr.is_none() && outargs.is_empty() => self.call(call),
            _ => self.opaque("CALL of an unknown kind"),
        }
    }

    /// DO: its body is not read. The scope names the class.
    pub(super) fn anonymous_block(&mut self, block: &nodes::DoStmt) {
        let nodes::DoStmt { args } = block;
        self.class = Class::Do;
        self.changes_schema();
        for node in args {
            let language = match option(node) {
                Some(("as", _)) => continue,
                Some(("language", Some(language))) => super::names::string(language),
                _ => None,
            };
            if language != Some("plpgsql") {
                self.opaque("DO in a language other than plpgsql");
            }
        }
    }
}
