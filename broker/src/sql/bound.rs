//! What columns were called when a policy first spoke of them: a mask goes by the relation and the column themselves, not
//! only by their names.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};

use super::{Relation, Snapshot};

/// One column as a policy first saw it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sight {
    /// The digest of the scope that hides other columns of the relation; empty for masks and for what nobody reaches.
    pub scope: String,
    /// `pg_class.oid`.
    pub oid: u32,
    /// `pg_attribute.attnum`; 0 for the relation as a whole.
    pub number: i16,
    /// The schema's name then, or that of the masked ancestor's.
    pub schema: String,
    /// The relation's name then, or that of the masked ancestor.
    pub table: String,
    /// The column's name then; empty for the relation as a whole.
    pub column: String,
}

/// All sights of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    sights: BTreeSet<Sight>,
    version: u64,
}

impl Bound {
    /// These sights.
    pub fn new(sights: BTreeSet<Sight>) -> Self {
        let mut hasher = DefaultHasher::new();
        sights.hash(&mut hasher);
        let version = if sights.is_empty() { 0 } else { hasher.finish() };
        Self { sights, version }
    }

    /// These and `more`.
    #[must_use]
    pub fn with(&self, more: &[Sight]) -> Self {
        Self::new(self.sights.iter().chain(more).cloned().collect())
    }

    /// Equal sights have equal versions.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Every sight, in order.
    pub fn all(&self) -> impl Iterator<Item = &Sight> {
        self.sights.iter()
    }

    /// The sights of one relation for the scope with this digest, or for masks.
    pub fn of<'a>(&'a self, scope: &'a str, oid: u32) -> impl Iterator<Item = &'a Sight> {
        let from = Sight {
            scope: scope.to_owned(),
            oid,
            number: i16::MIN,
            schema: String::new(),
            table: String::new(),
            column: String::new(),
        };
        self.sights
            .range(from..)
            .take_while(move |sight| sight.oid == oid && sight.scope == scope)
    }

    /// The numbers of the columns that a masked relation had when its mask was first seen; `None` for one that no policy
    /// has spoken of.
    pub fn known(&self, relation: &Relation) -> Option<BTreeSet<i16>> {
        let numbers: BTreeSet<i16> = self
            .of("", relation.oid)
            .filter(|sight| sight.number > 0)
            .map(|sight| sight.number)
            .collect();
        if !numbers.is_empty() {
            return Some(numbers);
        }
        // Made anew under a name that is known: what the earlier one had.
        let names: BTreeSet<&str> = self
            .sights
            .iter()
            .filter(|sight| sight.scope.is_empty() && sight.number > 0)
            .filter(|sight| sight.schema == relation.schema && sight.table == relation.name)
            .map(|sight| sight.column.as_str())
            .collect();
        let facts = relation.columns.iter().zip(&relation.facts);
        (!names.is_empty()).then(|| {
            facts
                .filter(|(column, _)| names.contains(column.as_str()))
                .map(|(_, fact)| fact.number)
                .collect()
        })
    }
}

/// Something that goes by another name than when a policy first spoke of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What it was called.
    pub was: Sight,
    /// The schema it is in now.
    pub schema: String,
    /// The relation's name now.
    pub table: String,
    /// The column's name now; empty for the relation as a whole.
    pub column: String,
}

/// What goes by another name in `snapshot` than its sights say.
pub(super) fn moved(snapshot: &Snapshot, bound: &Bound) -> Vec<Moved> {
    if bound.sights.is_empty() {
        return Vec::new();
    }
    let all = snapshot.relations.values().flat_map(BTreeMap::values);
    let oids: BTreeSet<u32> = bound.sights.iter().map(|sight| sight.oid).collect();
    let by_oid: BTreeMap<u32, &Relation> = all
        .filter(|relation| oids.contains(&relation.oid))
        .map(|relation| (relation.oid, relation))
        .collect();
    let mut moved = Vec::new();
    for sight in &bound.sights {
        let Some(relation) = by_oid.get(&sight.oid) else {
            continue;
        };
        let column = match sight.number {
            0 => Some(""),
            number => {
                let mut facts = relation.columns.iter().zip(&relation.facts);
                facts
                    .find(|(_, fact)| fact.number == number)
                    .map(|(name, _)| name.as_str())
            }
        };
        let Some(column) = column else { continue };
        let same = |other: &Relation| other.schema == sight.schema && other.name == sight.table;
        let placed = same(relation) || snapshot.ancestors(relation).into_iter().any(same);
        if !placed || column != sight.column {
            moved.push(Moved {
                was: sight.clone(),
                schema: relation.schema.clone(),
                table: relation.name.clone(),
                column: column.to_owned(),
            });
        }
    }
    moved
}
