//! The views of masked tables around DDL. A column that a view reads cannot change its type, and a changed table needs
//! another view: before the owner's statement the views of what it changes are dropped, whichever scope they are for,
//! and after it they are made for what it left behind, in one transaction with it. A statement that fails leaves
//! everything as it was.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{End, Session};
use crate::decide::rewrite::{self, View};
use crate::mask::{SCHEMA, keyed};
use crate::role::views;
use crate::sql::Snapshot;
use crate::sql::quote::{identifier, literal, qualified};

/// What a session finds in the database before it makes views.
#[derive(Debug, Deserialize)]
struct Found {
    /// Views that are there.
    there: Vec<String>,
    /// Roles of scopes that are there.
    groups: Vec<String>,
    /// The relations that the owner owns.
    owned: Vec<u32>,
    /// The schemas that the keeper may use.
    open: Vec<String>,
    /// The schemas that the owner can open.
    opens: Vec<String>,
    /// The keeper may read the key of masks.
    keys: bool,
    /// The session can become the keeper.
    keeper: bool,
}

impl<C> Session<C> {
    /// Drops the views on what `defines` names, those of parents before those of their children: in the order in which
    /// PostgreSQL locks the tables themselves. `None` when a statement failed inside a pipeline.
    pub(super) async fn unhook(&mut self, defines: &[(String, String)]) -> Result<Option<()>, End> {
        let inside = self.pipeline || self.transaction != b'I';
        let before = self.view.shared();
        let oids = kin(&before, defines);
        if !inside || oids.is_empty() || self.link.target.role().is_none() {
            return Ok(Some(()));
        }
        let mut known = BTreeSet::new();
        let mut found = loop {
            let Some(found) = self.hooked(&oids).await? else {
                return Ok(None);
            };
            let names: BTreeSet<String> = found.iter().map(|(_, view, _)| view.clone()).collect();
            if names.is_subset(&known) {
                break found;
            }
            // While others are waited for the broker can make a view for a new grant: hence another look.
            known.extend(names.iter().cloned());
            self.anew.moves(names).await;
        };
        let depth = |oid: u32| {
            let mut all = before.relations.values().flat_map(BTreeMap::values);
            let relation = all.find(|relation| relation.oid == oid);
            relation.map_or(0, |relation| before.ancestors(relation).len())
        };
        found.sort_by_cached_key(|(_, view, base)| (depth(*base), *base, view.clone()));
        let mut batch: Vec<String> = Vec::new();
        for views in found.chunk_by(|(one, ..), (other, ..)| one == other) {
            let names: Vec<String> = views.iter().map(|(_, view, _)| qualified(SCHEMA, view)).collect();
            if let Some((keeper, ..)) = views.first() {
                batch.push(format!("SET ROLE {}", identifier(keeper)));
                batch.push(format!("DROP VIEW {}", names.join(", ")));
            }
        }
        if batch.is_empty() {
            return Ok(Some(()));
        }
        batch.push(self.own_role());
        Ok(self.own_run(&batch).await?.map(|_| ()))
    }

    /// The views that read one of these relations: the keeper, the view, the first relation it reads. `None` when the
    /// statement failed inside a pipeline.
    async fn hooked(&mut self, oids: &BTreeSet<u32>) -> Result<Option<Vec<(String, String, u32)>>, End> {
        let asked = format!(
            "SELECT pg_catalog.json_agg(pg_catalog.json_build_array(r.rolname, v.relname, d.base))::pg_catalog.text \
             FROM pg_catalog.pg_class v JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) v.relnamespace \
             JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) v.relowner \
             JOIN (SELECT w.ev_class AS view, pg_catalog.min(d.refobjid)::pg_catalog.int8 AS base \
               FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d ON d.objid OPERATOR(pg_catalog.=) w.oid \
               AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
               WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
               AND d.refobjid OPERATOR(pg_catalog.=) ANY ({oids}) GROUP BY w.ev_class) d ON d.view OPERATOR(pg_catalog.=) v.oid \
             WHERE n.nspname OPERATOR(pg_catalog.=) {schema} AND pg_catalog.pg_has_role(SESSION_USER, r.oid, 'MEMBER')",
            schema = literal(SCHEMA),
            oids = array(oids),
        );
        let found = self.own_run(&[asked]).await?;
        Ok(found.map(|found| {
            found
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default()
        }))
    }

    /// Makes the views that scopes in use here need of what `defines` names, as it is now.
    pub(super) async fn rehook(&mut self, owner: &str, defines: &[(String, String)]) -> Result<(), End> {
        let (roles, database) = (&self.core.house.roles, &self.link.target.name);
        let (scopes, keeper) = (roles.masking(database), roles.keeper(database, owner));
        let (Some(keeper), false) = (keeper, scopes.is_empty()) else {
            return Ok(());
        };
        let after = self.view.shared();
        let oids = kin(&after, defines);
        let mut wanted: BTreeMap<String, (View, Vec<String>)> = BTreeMap::new();
        for (group, scope) in scopes {
            let views = rewrite::views(&scope, &after);
            for view in views.into_iter().filter(|view| oids.contains(&view.relation)) {
                let entry = wanted.entry(view.name.clone()).or_insert((view, Vec::new()));
                entry.1.push(group.clone());
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let Some(found) = self.own_run(&[looked(&wanted, owner, &keeper)]).await? else {
            return Ok(());
        };
        let found: Option<Found> = found.and_then(|text| serde_json::from_str(&text).ok());
        let Some(found) = found.filter(|found| found.keeper) else {
            return Ok(());
        };
        let batch = batch(&wanted, &found, owner, &keeper);
        if batch.is_empty() {
            return Ok(());
        }
        let batch: Vec<String> = batch.into_iter().chain([self.own_role()]).collect();
        self.own_run(&batch).await.map(|_| ())
    }
}

/// The statements that make what is missing. What the owner cannot open to the keeper stays away: it cannot be read then.
fn batch(wanted: &BTreeMap<String, (View, Vec<String>)>, found: &Found, owner: &str, keeper: &str) -> Vec<String> {
    let (mut shared, mut made) = (Vec::new(), Vec::new());
    for (name, (view, groups)) in wanted {
        let open = found.open.contains(&view.schema);
        let opens = found.opens.contains(&view.schema);
        let unkeyed = keyed::reads_key(&view.query) && !found.keys;
        if unkeyed || found.there.contains(name) || !found.owned.contains(&view.relation) || !(open || opens) {
            continue;
        }
        if !open {
            let schema = identifier(&view.schema);
            shared.push(format!("GRANT USAGE ON SCHEMA {schema} TO {}", identifier(keeper)));
        }
        shared.extend(views::readable(view, keeper));
        made.extend(views::made(view, owner));
        for group in groups.iter().filter(|group| found.groups.contains(group)) {
            let view = qualified(SCHEMA, name);
            made.push(format!("GRANT SELECT ON TABLE {view} TO {}", identifier(group)));
        }
    }
    if made.is_empty() {
        return made;
    }
    let become_owner = format!("SET ROLE {}", identifier(owner));
    let become_keeper = format!("SET ROLE {}", identifier(keeper));
    let owners = [become_owner].into_iter().chain(shared);
    owners.chain([become_keeper]).chain(made).collect()
}

fn looked(wanted: &BTreeMap<String, (View, Vec<String>)>, owner: &str, keeper: &str) -> String {
    let texts = |all: &BTreeSet<&str>| {
        let all: Vec<String> = all.iter().map(|text| literal(text)).collect();
        format!("ARRAY[{}]::pg_catalog.text[]", all.join(","))
    };
    let names: BTreeSet<&str> = wanted.keys().map(String::as_str).collect();
    let groups: BTreeSet<&str> = wanted
        .values()
        .flat_map(|(_, groups)| groups.iter().map(String::as_str))
        .collect();
    let oids: BTreeSet<u32> = wanted.values().map(|(view, _)| view.relation).collect();
    let schemas: BTreeSet<&str> = wanted.values().map(|(view, _)| view.schema.as_str()).collect();
    let usable = |role: &str| {
        format!(
            "(SELECT COALESCE(pg_catalog.json_agg(n.nspname), '[]'::pg_catalog.json) FROM pg_catalog.pg_namespace n, pg_catalog.pg_roles r \
             WHERE r.rolname OPERATOR(pg_catalog.=) {role} AND n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({schemas}) AND ",
            role = literal(role),
            schemas = texts(&schemas),
        )
    };
    format!(
        "SELECT pg_catalog.json_build_object(\
         'there', (SELECT COALESCE(pg_catalog.json_agg(v.relname), '[]'::pg_catalog.json) FROM pg_catalog.pg_class v \
           JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) v.relnamespace \
           WHERE n.nspname OPERATOR(pg_catalog.=) {schema} AND v.relname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({names})), \
         'groups', (SELECT COALESCE(pg_catalog.json_agg(r.rolname), '[]'::pg_catalog.json) FROM pg_catalog.pg_roles r \
           WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({groups})), \
         'owned', (SELECT COALESCE(pg_catalog.json_agg(c.oid::pg_catalog.int8), '[]'::pg_catalog.json) FROM pg_catalog.pg_class c \
           JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) c.relowner \
           WHERE r.rolname OPERATOR(pg_catalog.=) {owner} AND c.oid OPERATOR(pg_catalog.=) ANY ({oids})), \
         'open', {open} pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')), \
         'opens', {opens} n.nspowner OPERATOR(pg_catalog.=) r.oid), \
         'keys', COALESCE((SELECT pg_catalog.has_table_privilege(r.oid, t.oid, 'SELECT') FROM pg_catalog.pg_roles r, pg_catalog.pg_class t \
           WHERE r.rolname OPERATOR(pg_catalog.=) {keeper} AND t.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({key})::pg_catalog.oid), false), \
         'keeper', EXISTS (SELECT 1 FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) {keeper} \
           AND pg_catalog.pg_has_role(SESSION_USER, r.oid, 'MEMBER')))::pg_catalog.text",
        schema = literal(SCHEMA),
        key = literal(&qualified(SCHEMA, keyed::TABLE)),
        names = texts(&names),
        groups = texts(&groups),
        oids = array(&oids),
        open = usable(keeper),
        opens = usable(owner),
        owner = literal(owner),
        keeper = literal(keeper),
    )
}

/// The OIDs of what `defines` names, with what it inherits from and hands on to.
fn kin(snapshot: &Snapshot, defines: &[(String, String)]) -> BTreeSet<u32> {
    let named = defines
        .iter()
        .filter_map(|(schema, name)| snapshot.relation(schema, name));
    let all = named.flat_map(|relation| rewrite::family(relation, snapshot));
    all.map(|relation| relation.oid).collect()
}

fn array(oids: &BTreeSet<u32>) -> String {
    let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
    format!("ARRAY[{}]::pg_catalog.oid[]", oids.join(","))
}
