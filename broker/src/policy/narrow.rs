//! What a new version of a scope takes away from a grant that was minted under the old one.

use super::cover::contains;
use super::{Limit, Limits, MaskRule, Origin, RelationPattern, Rule, Scope, words};

/// The first thing that `old` grants and `new` does not, in words; `None` when `new` grants at least as much. Patterns
/// are compared as texts, so that it may find a difference where there is none, never the other way round.
pub fn taken_away(old: &Scope, new: &Scope) -> Option<String> {
    // Field by field: one that is added later must be thought of here.
    let Scope {
        name,
        origin: _,
        database,
        enforcement,
        who: _,
        can,
        ceiling,
        never,
        masks,
        detect,
        limits,
        digest: _,
        policy_sha: _,
    } = new;
    if old.database != *database {
        return Some(format!("scope `{name}` is for another database now"));
    }
    if old.enforcement != *enforcement {
        return Some(format!("scope `{name}` is enforced in another way now"));
    }
    limit_lowered(&old.limits, limits)
        .or_else(|| rule_gone(&old.can, can))
        .or_else(|| rule_gone(&old.ceiling, ceiling).map(|gone| format!("{gone}, by the operator's ceiling")))
        .or_else(|| {
            let known =
                |added: &RelationPattern| old.never.iter().any(|never| contains(&never.pattern, &added.pattern));
            let added = never.iter().find(|added| !known(added))?;
            Some(format!("`{}` is out of reach now ({})", added.pattern, added.origin))
        })
        .or_else(|| masked(&old.masks, masks))
        .or_else(|| {
            let (kind, origin) = detect.iter().find(|(kind, _)| !old.detect.contains_key(kind))?;
            Some(format!("`{kind}` is looked for in results now ({origin})"))
        })
}

/// The first column that is masked now and was not, or not in this way.
fn masked(old: &[MaskRule], new: &[MaskRule]) -> Option<String> {
    let same = |rule: &&MaskRule| old.iter().any(|old| old.names_same(rule) && old.mask == rule.mask);
    let changed = new.iter().find(|rule| !same(rule))?;
    Some(format!(
        "{} is masked by {} now ({})",
        changed.name(),
        changed.mask,
        changed.origin
    ))
}

fn limit_lowered(old: &Limits, new: &Limits) -> Option<String> {
    let Limits {
        ttl,
        max_session,
        max_connections,
        statement_timeout,
        lock_timeout,
        idle_timeout,
        max_rows,
        max_bytes,
        max_affected_rows,
        read_only,
        no_where,
    } = new;
    let added = |name: &str, old: Option<&Origin>, new: Option<&Origin>| {
        let new = new.filter(|_| old.is_none())?;
        Some(format!("`{name}` is set now ({new})"))
    };
    lower("ttl", &old.ttl, ttl)
        .or_else(|| lower("max-session", &old.max_session, max_session))
        .or_else(|| lower("max-connections", &old.max_connections, max_connections))
        .or_else(|| {
            bounded(
                "statement-timeout",
                old.statement_timeout.as_ref(),
                statement_timeout.as_ref(),
            )
        })
        .or_else(|| bounded("lock-timeout", old.lock_timeout.as_ref(), lock_timeout.as_ref()))
        .or_else(|| bounded("idle-timeout", old.idle_timeout.as_ref(), idle_timeout.as_ref()))
        .or_else(|| bounded("max-rows", old.max_rows.as_ref(), max_rows.as_ref()))
        .or_else(|| bounded("max-bytes", old.max_bytes.as_ref(), max_bytes.as_ref()))
        .or_else(|| {
            bounded(
                "max-affected-rows",
                old.max_affected_rows.as_ref(),
                max_affected_rows.as_ref(),
            )
        })
        .or_else(|| added("read-only", old.read_only.as_ref(), read_only.as_ref()))
        .or_else(|| added("no-where", old.no_where.as_ref(), no_where.as_ref()))
}

fn lower<T: PartialOrd>(name: &str, old: &Limit<T>, new: &Limit<T>) -> Option<String> {
    (new.value < old.value).then(|| lowered(name, &new.origin))
}

/// A limit that need not be there: none is the widest.
fn bounded<T: PartialOrd>(name: &str, old: Option<&Limit<T>>, new: Option<&Limit<T>>) -> Option<String> {
    let new = new?;
    let narrower = old.is_none_or(|old| new.value < old.value);
    narrower.then(|| lowered(name, &new.origin))
}

fn lowered(name: &str, origin: &Origin) -> String {
    format!("`{name}` is lower now ({origin})")
}

fn rule_gone(old: &[Rule], new: &[Rule]) -> Option<String> {
    old.iter().find_map(|rule| {
        let Rule {
            origin: _,
            classes,
            tables,
            objects,
            columns,
            functions,
            settings,
            owner,
        } = rule;
        for class in classes {
            let of_class: Vec<&Rule> = new.iter().filter(|rule| rule.classes.contains(class)).collect();
            if of_class.is_empty() {
                return Some(format!("`{class}` is not granted any more"));
            }
            if !words::needs_tables(*class) {
                continue;
            }
            let covered = |table: &RelationPattern| {
                of_class.iter().any(|rule| {
                    covers(&rule.tables, table)
                        && objects.is_subset(&rule.objects)
                        && (owner.is_none() || !words::needs_owner(*class) || rule.owner == *owner)
                        && rule
                            .columns
                            .as_ref()
                            .is_none_or(|granted| columns.as_ref().is_some_and(|wanted| wanted.is_subset(granted)))
                })
            };
            if let Some(lost) = tables.iter().find(|table| !covered(table)) {
                return Some(format!("`{class}` on `{}` is not granted any more", lost.pattern));
            }
        }
        for (name, values) in settings {
            let kept = |rule: &Rule| rule.settings.get(name).is_some_and(|granted| values.is_subset(granted));
            if !new.iter().any(kept) {
                return Some(format!("setting `{name}` is not granted any more"));
            }
        }
        let called = |function: &&RelationPattern| !new.iter().any(|rule| covers(&rule.functions, function));
        let lost = functions.iter().find(called)?;
        Some(format!("calling `{}` is not granted any more", lost.pattern))
    })
}

fn covers(granted: &[RelationPattern], wanted: &RelationPattern) -> bool {
    granted
        .iter()
        .any(|granted| contains(&granted.pattern, &wanted.pattern))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{MAIN, one, scope};

    fn with(can: &str, limits: &str) -> std::sync::Arc<Scope> {
        scope(&one(MAIN, can, &format!("limits: {{ {limits} }}")))
    }

    const IDS: &str = "{ statements: [select], tables: [app.orders], columns: [id] }";
    const READ: &str = "{ statements: [select, copy-out], tables: ['app.*'] }";

    #[test]
    fn what_is_wider_or_the_same_takes_nothing() {
        let old = with(IDS, "ttl: 5m, statement-timeout: 5s");
        let (wider, all) = (
            "{ statements: [read], tables: [app.orders], columns: [id, note] }",
            "{ statements: [select], tables: ['app.*'] }",
        );
        for (can, limits) in [
            (IDS, "ttl: 5m, statement-timeout: 5s"),
            (IDS, "ttl: 6m"),
            (wider, "ttl: 5m, statement-timeout: 6s"),
            (all, "ttl: 5m"),
        ] {
            assert_eq!(taken_away(&old, &with(can, limits)), None, "{can} {limits}");
        }
    }

    #[test]
    fn a_mask_takes_something_away_and_its_end_does_not() {
        let with = |mask: &str| scope(&one(MAIN, READ, mask));
        let (bare, digits) = (with("limits: {}"), with("mask: { app.orders.note: digits }"));
        let both = with("mask: { app.orders.note: digits, app.orders.name: nullify }");
        let other = with("mask: { app.orders.note: nullify }");
        assert_eq!(taken_away(&digits, &bare), None);
        assert_eq!(taken_away(&both, &digits), None);
        assert_eq!(taken_away(&digits, &digits), None);
        for (old, new, lost) in [
            (
                &bare,
                &digits,
                "app.orders.note is masked by digits now (.hoop/db-access.yaml:7)",
            ),
            (
                &digits,
                &both,
                "app.orders.name is masked by nullify now (.hoop/db-access.yaml:7)",
            ),
            (
                &digits,
                &other,
                "app.orders.note is masked by nullify now (.hoop/db-access.yaml:7)",
            ),
        ] {
            assert_eq!(taken_away(old, new).as_deref(), Some(lost));
        }
    }

    #[test]
    fn what_is_narrower_is_named() {
        let old = with(READ, "ttl: 5m");
        for (can, limits, lost) in [
            (
                "{ statements: [select], tables: ['app.*'] }",
                "ttl: 5m",
                "`copy-out` is not granted",
            ),
            (
                "{ statements: [read], tables: [app.orders] }",
                "ttl: 5m",
                "`select` on `app.*`",
            ),
            (IDS, "ttl: 5m", "`select` on `app.*`"),
            (READ, "ttl: 4m", "`ttl` is lower"),
            (READ, "ttl: 5m, lock-timeout: 1s", "`lock-timeout` is lower"),
            (READ, "ttl: 5m, max-connections: 1", "`max-connections` is lower"),
        ] {
            let found = taken_away(&old, &with(can, limits)).unwrap_or_default();
            assert!(found.contains(lost), "{can} {limits}: {found}");
        }
        let fewer = taken_away(
            &with("{ statements: [select], tables: [app.orders] }", "ttl: 5m"),
            &with(IDS, "ttl: 5m"),
        );
        assert!(fewer.is_some_and(|lost| lost.contains("`select` on `app.orders`")));
    }
}
