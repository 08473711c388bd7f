//! What a policy says of relations and columns goes by what they are, not only by their names: a new name takes no mask
//! off, and shows nothing that was hidden.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Denial;
use super::judge::covers;
use super::reason::{self, relation, verb};
use super::rewrite::family;
use crate::policy::{MaskRule, Rule, Scope};
use crate::sql::bound::{Moved, Sight};
use crate::sql::{Class, Columns, Kind, Relation, Snapshot, Statement, Touch};

/// What `scopes` of the database speak of and what was not seen before.
pub fn sights(scopes: &[Arc<Scope>], snapshot: &Snapshot) -> Vec<Sight> {
    let mut new = BTreeSet::new();
    for scope in scopes {
        masked(scope, snapshot, &mut new);
        withheld(scope, snapshot, &mut new);
    }
    let known = |sight: &Sight| snapshot.bound.of(&sight.scope, sight.oid).any(|known| known == sight);
    new.into_iter().filter(|sight| !known(sight)).collect()
}

/// The columns of what is masked, under the name by which the mask goes. What a relation has beyond them came later.
fn masked(scope: &Scope, snapshot: &Snapshot, new: &mut BTreeSet<Sight>) {
    for rule in &scope.masks {
        let Some(own) = snapshot.relation(&rule.schema, &rule.table) else {
            continue;
        };
        for kin in family(own, snapshot) {
            let known = snapshot.bound.known(kin);
            let facts = kin.columns.iter().zip(&kin.facts);
            let seen = facts.filter(|(column, fact)| {
                **column == rule.column || known.as_ref().is_none_or(|known| known.contains(&fact.number))
            });
            new.extend(seen.map(|(column, fact)| Sight {
                scope: String::new(),
                oid: kin.oid,
                number: fact.number,
                schema: rule.schema.clone(),
                table: rule.table.clone(),
                column: column.clone(),
            }));
        }
    }
}

/// Relations that nobody reaches, and the columns of those of which the scope reaches a part.
fn withheld(scope: &Scope, snapshot: &Snapshot, new: &mut BTreeSet<Sight>) {
    let system = |schema: &str| matches!(schema, "pg_catalog" | "information_schema" | "pg_temp");
    let partly = |rule: &&Rule| rule.columns.is_some();
    let rules = || scope.can.iter().chain(&scope.ceiling).filter(partly);
    if scope.never.is_empty() && rules().next().is_none() {
        return;
    }
    let schemas = snapshot.relations.iter().filter(|(schema, _)| !system(schema));
    for kin in schemas.flat_map(|(_, named)| named.values()) {
        let sight = |scope: &str, number: i16, column: &str| Sight {
            scope: scope.to_owned(),
            oid: kin.oid,
            number,
            schema: kin.schema.clone(),
            table: kin.name.clone(),
            column: column.to_owned(),
        };
        if scope.never.iter().any(|never| never.covers(&kin.schema, &kin.name)) {
            new.insert(sight("", 0, ""));
        }
        let covers = |rule: &Rule| rule.tables.iter().any(|table| table.covers(&kin.schema, &kin.name));
        let hides = rules().any(covers);
        if hides && snapshot.bound.of(&scope.digest, kin.oid).next().is_none() {
            let facts = kin.columns.iter().zip(&kin.facts);
            new.extend(facts.map(|(column, fact)| sight(&scope.digest, fact.number, column)));
        }
    }
}

/// Refuses what has another name than when the policy first spoke of it, where that name would not be reached.
pub(super) fn by_other_names(statement: &Statement, scope: &Scope, snapshot: &Snapshot) -> Result<(), Box<Denial>> {
    if snapshot.moved.is_empty() {
        return Ok(());
    }
    for touch in statement.touched() {
        if touch.kind == Kind::Relation {
            touched(touch, scope, snapshot)?;
        }
    }
    for (schema, name) in &statement.reaches {
        let never = moved_of(snapshot, schema, name).find(|moved| is_never(moved, scope));
        if let Some(moved) = never {
            return Err(never_again(&reason::name(schema, name), moved, scope));
        }
    }
    Ok(())
}

fn moved_of<'a>(snapshot: &'a Snapshot, schema: &'a str, name: &'a str) -> impl Iterator<Item = &'a Moved> {
    let is = move |moved: &&Moved| moved.schema == schema && moved.table == name;
    snapshot.moved.iter().filter(is)
}

fn is_never(moved: &Moved, scope: &Scope) -> bool {
    let was = &moved.was;
    was.number == 0 && scope.never.iter().any(|never| never.covers(&was.schema, &was.table))
}

fn touched(touch: &Touch, scope: &Scope, snapshot: &Snapshot) -> Result<(), Box<Denial>> {
    let asked = format!("{} {}", verb(touch.class), relation(touch));
    for moved in moved_of(snapshot, &touch.schema, &touch.name) {
        let was = &moved.was;
        if is_never(moved, scope) {
            return Err(never_again(&asked, moved, scope));
        }
        let read = match &touch.columns {
            Columns::Whole => true,
            Columns::Named(named) => named.contains(&moved.column),
        };
        if *was.scope != *scope.digest || !read {
            continue;
        }
        if !covers(touch.class, (&was.schema, &was.table), &was.column, scope) {
            let detail = format!(
                "{}.{} was {}.{} when this policy was first in force, and that column it hides: another name shows nothing",
                relation(touch),
                moved.column,
                reason::name(&was.schema, &was.table),
                was.column
            );
            let hint = "if the policy means this column by its new name, change the policy: it counts from its next version on";
            return Err(reason::deny(
                "column-not-allowed",
                scope.origin.clone(),
                scope,
                &asked,
                detail,
                hint,
            ));
        }
    }
    Ok(())
}

/// Those of `columns` of which the policy says under every name what it says under today's; `None` when nobody reaches
/// the relation.
pub(super) fn still_covered<'c>(
    class: Class,
    relation: &Relation,
    columns: &[&'c str],
    (scope, snapshot): (&Scope, &Snapshot),
) -> Option<Vec<&'c str>> {
    let mut left = columns.to_vec();
    for moved in moved_of(snapshot, &relation.schema, &relation.name) {
        let was = &moved.was;
        if is_never(moved, scope) {
            return None;
        }
        let hidden = *was.scope == *scope.digest && !covers(class, (&was.schema, &was.table), &was.column, scope);
        left.retain(|column| !hidden || *column != moved.column);
    }
    Some(left)
}

fn never_again(asked: &str, moved: &Moved, scope: &Scope) -> Box<Denial> {
    let was = reason::name(&moved.was.schema, &moved.was.table);
    let detail = format!("this is {was} under another name, and the operator says that nobody reaches it");
    let hint = format!("ask the operator: `never` holds for this table until it no longer covers {was}");
    reason::deny("never", scope.origin.clone(), scope, asked, detail, &hint)
}

/// What is masked, and goes by another name than the mask: by its place, the mask that it had.
pub(super) type Strayed<'a> = BTreeMap<(&'a str, &'a str), (&'a MaskRule, &'a Moved)>;

/// Relations that hold, under names that no mask has, what a mask of the scope was first seen on. `has` tells whether a
/// column of a relation has a mask now.
pub(super) fn strayed<'a>(
    scope: &'a Scope,
    snapshot: &'a Snapshot,
    has: impl Fn(&'a str, &'a str, &'a str) -> bool,
) -> Strayed<'a> {
    let mut strayed = Strayed::new();
    for moved in snapshot.moved.iter() {
        let was = &moved.was;
        let same = |rule: &&MaskRule| rule.schema == was.schema && rule.table == was.table && rule.column == was.column;
        let rule = scope.masks.iter().find(same).filter(|_| was.scope.is_empty());
        if let Some(rule) = rule.filter(|_| !has(&moved.schema, &moved.table, &moved.column)) {
            strayed.entry((&moved.schema, &moved.table)).or_insert((rule, moved));
        }
    }
    strayed
}

/// The refusal of a touch of what had a mask under another name.
pub(super) fn stray(touch: &Touch, (rule, moved): (&MaskRule, &Moved), scope: &Scope) -> Box<Denial> {
    let asked = format!("{} {}", verb(touch.class), relation(touch));
    let detail = format!(
        "{}.{} is what {} was when its mask was first seen: another name takes no mask off",
        relation(touch),
        moved.column,
        rule.name()
    );
    let hint = "name the column in `mask` as it is called now";
    reason::deny("masked", rule.origin.clone(), scope, &asked, detail, hint)
}

/// The first hidden column among what a touch reads.
pub(super) fn reads_fresh<'a>(touch: &Touch, fresh: &Fresh<'a>) -> Option<(&'a str, Option<&'a str>)> {
    let columns = fresh.get(&(touch.schema.as_str(), touch.name.as_str()))?;
    let mut hidden = columns.iter().map(|(column, from)| (*column, *from));
    match &touch.columns {
        Columns::Whole => hidden.next(),
        Columns::Named(named) => hidden.find(|(column, _)| named.iter().any(|name| name == column)),
    }
}

/// By relation, its hidden columns: those that came after its masks and that nothing in the policy names, and those that
/// are computed from a masked one, with that one.
pub(super) type Fresh<'a> = BTreeMap<(&'a str, &'a str), BTreeMap<&'a str, Option<&'a str>>>;

/// The columns of `relation` that came after its masks were first seen, and that the policy names neither under `mask`
/// nor under `columns`; and the unmasked ones that are computed from masked ones.
pub(super) fn fresh<'a>(
    relation: &'a Relation,
    masks: &BTreeSet<&str>,
    scope: &Scope,
    snapshot: &Snapshot,
) -> BTreeMap<&'a str, Option<&'a str>> {
    let covers = |rule: &&Rule| {
        let mut tables = rule.tables.iter();
        tables.any(|table| table.covers(&relation.schema, &relation.name))
    };
    let listed = |column: &String| {
        let mut rules = scope.can.iter().filter(covers);
        rules.any(|rule| rule.columns.as_ref().is_some_and(|listed| listed.contains(column)))
    };
    let mut hidden = BTreeMap::new();
    if let Some(known) = snapshot.bound.known(relation) {
        let facts = relation.columns.iter().zip(&relation.facts);
        let later = facts.filter(|(column, fact)| !known.contains(&fact.number) && !listed(column));
        hidden.extend(later.map(|(column, _)| (column.as_str(), None)));
    }
    let derived = relation.attached.derived.iter();
    let computed = derived.filter(|(_, from)| masks.contains(from.as_str()));
    hidden.extend(computed.map(|(column, from)| (column.as_str(), Some(from.as_str()))));
    hidden.retain(|column, _| !masks.contains(column));
    hidden
}
