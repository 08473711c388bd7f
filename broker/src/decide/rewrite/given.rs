//! `excluded.column` in ON CONFLICT DO UPDATE. No value of the table's is read there, but PostgreSQL asks for the right to
//! read the table's own column. Where the scope may not, the statement's own value stands for it; under both
//! enforcements, so that a policy means the same.

use super::{Masked, family};
use crate::decide::Denial;
use crate::decide::judge::covers_column;
use crate::decide::reason;
use crate::policy::{Enforcement, Origin, Scope};
use crate::sql::splice::{Given, GivenColumn};
use crate::sql::{Class, Proposed, Relation, RelationKind, Snapshot, Statement};

/// What every refusal here advises.
const CURE: &str = "set the column to the value itself instead of EXCLUDED, row by row; for many rows fill a temporary table, then UPDATE … FROM it and INSERT … ON CONFLICT DO NOTHING";

/// What of a statement's `excluded` its own values stand for, or why that cannot be.
pub(in crate::decide) fn given(
    statement: &Statement,
    (scope, snapshot): (&Scope, &Snapshot),
    masked: Option<&Masked<'_>>,
) -> Result<Vec<Given>, Box<Denial>> {
    let mut all = Vec::new();
    for proposed in &statement.proposed {
        let Some(relation) = snapshot.relation(&proposed.schema, &proposed.name) else {
            continue;
        };
        let unread = |column: &str| !reads(column, relation, scope, masked);
        let hidden = relation.columns.iter().find(|column| unread(column));
        if let Some(hidden) = hidden.filter(|_| proposed.whole) {
            return Err(deny(hidden, relation, "EXCLUDED is taken as a whole", scope, masked));
        }
        for (column, at) in proposed.taken.iter().filter(|(column, _)| unread(column)) {
            let refuse = |why: &str| deny(column, relation, why, scope, masked);
            let at = at.ok_or_else(|| refuse("EXCLUDED stands inside of an expression"))?;
            if relation.kind == RelationKind::View {
                return Err(refuse("the row is written through a view"));
            }
            if family(relation, snapshot).iter().any(|kin| kin.attached.prepares) {
                return Err(refuse("a trigger may change the row before it is inserted"));
            }
            let own = of(column, proposed, relation).ok_or_else(|| refuse("the statement gives it no value"))?;
            let keys = proposed.arbiters.as_ref();
            all.push(Given {
                at: at.saturating_sub(statement.span.start),
                column: own,
                arbiters: keys.and_then(|keys| keys.iter().map(|key| of(key, proposed, relation)).collect()),
            });
        }
    }
    Ok(all)
}

/// The refusal of a statement whose values could not be put where they are taken.
pub(super) fn refused(
    statement: &Statement,
    why: &str,
    (scope, snapshot): (&Scope, &Snapshot),
    masked: Option<&Masked<'_>>,
) -> Box<Denial> {
    let first = statement.proposed.iter().find_map(|proposed| {
        let relation = snapshot.relation(&proposed.schema, &proposed.name)?;
        let mut taken = proposed.taken.iter().map(|(column, _)| column);
        let column = taken.find(|column| !reads(column, relation, scope, masked))?;
        Some(deny(column, relation, why, scope, masked))
    });
    first.unwrap_or_else(|| reason::deny("masked", scope.origin.clone(), scope, "INSERT", why.to_owned(), CURE))
}

/// Whether PostgreSQL gives the scope's role the column itself to read.
fn reads(column: &str, relation: &Relation, scope: &Scope, masked: Option<&Masked<'_>>) -> bool {
    let covered = [Class::Select, Class::CopyOut]
        .iter()
        .any(|class| covers_column(*class, relation, column, scope));
    match masked {
        Some(masked) => covered && !masked.plain(relation, vec![column]).is_empty(),
        // Nobody keeps an unmasked column from the broker's own login.
        None => covered || scope.enforcement == Enforcement::Shared,
    }
}

/// A column that the rows of the statement give, as an edit needs it.
fn of(column: &str, proposed: &Proposed, relation: &Relation) -> Option<GivenColumn> {
    let place = proposed.given.iter().position(|given| given == column)?;
    let known = relation.columns.iter().position(|known| known == column)?;
    Some(GivenColumn {
        name: column.to_owned(),
        place,
        of: relation.facts.get(known)?.of.sql(),
    })
}

fn deny(column: &str, relation: &Relation, why: &str, scope: &Scope, masked: Option<&Masked<'_>>) -> Box<Denial> {
    let name = reason::name(&relation.schema, &relation.name);
    let rule = masked.and_then(|masked| masked.of(&relation.schema, &relation.name)?.get(column).copied());
    let (code, origin): (_, &Origin) = match rule {
        Some(rule) => ("masked", &rule.origin),
        None => ("column-not-allowed", &scope.origin),
    };
    let is = if rule.is_some() { "is masked" } else { "may not be read" };
    let asked = format!("ON CONFLICT DO UPDATE of {name} ({column})");
    let detail = format!(
        "{name}.{column} {is}, and PostgreSQL wants the right to read it for EXCLUDED.{column}; the value given cannot be put there: {why}"
    );
    reason::deny(code, origin.clone(), scope, &asked, detail, CURE)
}
