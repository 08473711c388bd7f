//! The views that stand for tables with masks where the database enforces as well: what each of them reads, and its name.
//!
//! The name is a digest of all that the view means: the relation's OID, the numbers and names of its columns, and the
//! query. A statement that was judged against one schema therefore never reads a view that was made for another one: it
//! finds none, and fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{INNER, Masked, Unfitting, place};
use crate::decide::judge::covers_column;
use crate::mask;
use crate::policy::{Enforcement, MaskRule, Scope};
use crate::sql::quote::{identifier, qualified};
use crate::sql::source::Form;
use crate::sql::splice::Stand;
use crate::sql::{Class, Relation, RelationKind, Snapshot, Source};

/// The bytes of the digest that a name shows.
const SHOWN: usize = 20;

/// One view in the broker's own schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// `pg_class.oid` of the relation that it stands for.
    pub relation: u32,
    /// The schema of that relation.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// What the view is defined as.
    pub query: String,
}

/// Every view that statements of `scope` may be pointed at. Relations whose masks do not fit, or name nothing, have none:
/// they cannot be read.
pub fn views(scope: &Scope, snapshot: &Snapshot) -> Vec<View> {
    let mut all: Vec<View> = Vec::new();
    if scope.masks.is_empty() {
        return all;
    }
    let masked = Masked::new(scope, snapshot);
    for ((schema, name), masks) in &masked.columns {
        let key = (*schema, *name);
        let Some(relation) = snapshot.relation(schema, name) else {
            continue;
        };
        let never = scope.never.iter().any(|never| never.covers(schema, name));
        let rows = matches!(
            relation.kind,
            RelationKind::Table | RelationKind::View | RelationKind::MaterializedView | RelationKind::Foreign
        );
        let known = relation.facts.len() == relation.columns.len();
        if never
            || !rows
            || !known
            || masked.broken.contains_key(&key)
            || masked.strayed.contains_key(&key)
            || masked.meant_for(relation).is_some()
        {
            continue;
        }
        for (class, only) in [(Class::Select, false), (Class::Select, true), (Class::CopyOut, true)] {
            let reaches = relation
                .columns
                .iter()
                .any(|column| covers_column(class, relation, column, scope));
            match masked.view(class, only, relation, masks) {
                Ok(view) if reaches && !all.contains(&view) => all.push(view),
                Ok(_) | Err(_) => {}
            }
        }
    }
    all
}

impl<'a> Masked<'a> {
    /// Those of `columns` that may be read where nothing stands for the relation: none of one whose masks nobody knows.
    pub(in crate::decide) fn plain<'c>(&self, relation: &Relation, columns: Vec<&'c str>) -> Vec<&'c str> {
        let here = place(relation);
        let unknown = self.broken.contains_key(&here) || self.strayed.contains_key(&here);
        if unknown || self.meant_for(relation).is_some() {
            return Vec::new();
        }
        let Some(masks) = self.columns.get(&place(relation)) else {
            return columns;
        };
        columns
            .into_iter()
            .filter(|column| !masks.contains_key(column) && !self.is_fresh(relation, column))
            .collect()
    }

    /// What stands for the relation: the view that the database keeps for it, or the view's query.
    pub(super) fn stand(
        &self,
        source: &Source,
        relation: &Relation,
        masks: &BTreeMap<&'a str, &'a MaskRule>,
    ) -> Result<Stand, Unfitting<'a>> {
        let class = match source.form {
            Form::From | Form::Lock => Class::Select,
            Form::Copy(_) => Class::CopyOut,
        };
        // COPY of a table leaves out what is computed, unless it is named.
        let columns: Vec<&str> = match &source.form {
            Form::Copy(named) if !named.is_empty() => named.iter().map(String::as_str).collect(),
            Form::Copy(_) => {
                let known = relation.columns.iter().zip(&relation.facts);
                let written = known.filter(|(_, fact)| !fact.generated);
                written.map(|(name, _)| name.as_str()).collect()
            }
            Form::From | Form::Lock => relation.columns.iter().map(String::as_str).collect(),
        };
        match (self.scope.enforcement, &source.form) {
            (Enforcement::Shared, _) => self
                .rows(class, source.only, relation, masks, &columns)
                .map(Stand::Query),
            (Enforcement::Role, form) => {
                let View { name, .. } = self.view(class, source.only, relation, masks)?;
                let schema = mask::SCHEMA.to_owned();
                let list = || {
                    let shown = columns.iter().filter(|name| !self.is_fresh(relation, name));
                    shown.map(|name| identifier(name)).collect::<Vec<_>>().join(", ")
                };
                Ok(match form {
                    Form::From | Form::Lock => Stand::Relation { schema, name },
                    Form::Copy(_) => Stand::Query(format!(
                        "SELECT {} FROM {} AS {INNER}",
                        list(),
                        qualified(&schema, &name)
                    )),
                })
            }
        }
    }

    /// The view that stands for `relation` in statements that read it as `class` does.
    pub(super) fn view(
        &self,
        class: Class,
        only: bool,
        relation: &Relation,
        masks: &BTreeMap<&'a str, &'a MaskRule>,
    ) -> Result<View, Unfitting<'a>> {
        let columns: Vec<&str> = relation.columns.iter().map(String::as_str).collect();
        // Without children ONLY makes no difference, and one view serves both.
        let only = only && self.has_children(relation);
        let query = self.rows(class, only, relation, masks, &columns)?;
        Ok(View {
            name: name(relation, &query),
            relation: relation.oid,
            schema: relation.schema.clone(),
            table: relation.name.clone(),
            query,
        })
    }

    fn has_children(&self, relation: &Relation) -> bool {
        let mut all = self.snapshot.relations.values().flat_map(BTreeMap::values);
        all.any(|child| {
            let is = |(schema, name): &(String, String)| *schema == relation.schema && *name == relation.name;
            child.parents.iter().any(is)
        })
    }
}

fn name(relation: &Relation, query: &str) -> String {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    };
    add(&relation.oid.to_be_bytes());
    for (column, fact) in relation.columns.iter().zip(&relation.facts) {
        add(&fact.number.to_be_bytes());
        add(column.as_bytes());
    }
    add(query.as_bytes());
    let digest = digest.finalize();
    digest.iter().take(SHOWN).fold("m_".to_owned(), |mut out, byte| {
        let _infallible = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decide::rewrite::raw_columns;
    use crate::grant::testing;
    use crate::mask::{ColumnType, Mask};
    use crate::policy::{Enforcement, RelationPattern, Rule};
    use crate::sql::sample;
    use crate::sql::snapshot::ColumnFact;

    fn schema(columns: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        sample::add_table(&mut snapshot, "app", "people", columns);
        let people = snapshot.relations.get_mut("app").unwrap().get_mut("people").unwrap();
        people.facts = (1..).zip(columns).map(|(number, _)| fact(number)).collect();
        snapshot
    }

    fn fact(number: i16) -> ColumnFact {
        ColumnFact {
            number,
            of: ColumnType::new("text", Vec::new()),
            generated: false,
            kept: false,
        }
    }

    fn scope(mask: Mask) -> Arc<Scope> {
        let mut scope = Scope::clone(&testing::scope("read"));
        let rule = Rule {
            origin: scope.origin.clone(),
            classes: [Class::Select].into(),
            tables: vec![RelationPattern {
                origin: scope.origin.clone(),
                pattern: crate::base::pattern::Pattern::new("app.*", '.').unwrap(),
            }],
            columns: None,
            functions: Vec::new(),
            owner: None,
            objects: std::collections::BTreeSet::new(),
            settings: std::collections::BTreeMap::new(),
        };
        scope.enforcement = Enforcement::Role;
        scope.masks.push(MaskRule {
            origin: scope.origin.clone(),
            schema: "app".to_owned(),
            table: "people".to_owned(),
            column: "email".to_owned(),
            mask,
            by_operator: false,
        });
        scope.can = vec![rule.clone()];
        scope.ceiling = vec![rule];
        Arc::new(scope)
    }

    #[test]
    fn a_name_says_all_that_a_view_means() {
        let snapshot = schema(&["id", "email"]);
        let view = views(&scope(Mask::Nullify), &snapshot);
        let [only] = view.as_slice() else { panic!("{view:?}") };
        assert_eq!(
            only.query,
            "SELECT hoop.\"id\" AS \"id\", (NULL)::pg_catalog.text AS \"email\" FROM \"app\".\"people\" AS hoop"
        );
        assert!(only.name.len() == 42 && only.name.starts_with("m_"), "{}", only.name);
        assert_eq!(raw_columns(&scope(Mask::Nullify), &snapshot).len(), 1);
        let mut others = vec![only.name.clone()];
        let mut add = |scope: &Scope, snapshot: &Snapshot| {
            let view = views(scope, snapshot);
            assert_eq!(view.len(), 1);
            assert!(!others.contains(&view[0].name), "{view:?}");
            others.push(view[0].name.clone());
        };
        add(&scope(Mask::Digits), &snapshot);
        add(&scope(Mask::Hash), &snapshot);
        add(&scope(Mask::Nullify), &schema(&["id", "email", "more"]));
        // The names changed hands: what was masked is not any more.
        let mut swapped = schema(&["email", "id"]);
        add(&scope(Mask::Nullify), &swapped);
        let people = swapped.relations.get_mut("app").unwrap().get_mut("people").unwrap();
        people.oid += 1;
        add(&scope(Mask::Nullify), &swapped);
        // A mask that names nothing leaves nothing to read.
        assert_eq!(views(&scope(Mask::Nullify), &schema(&["id", "mail"])), []);
    }
}
