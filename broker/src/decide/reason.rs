//! Refusals in words: what was asked, which policy line is nearest, what to change or whom to ask. No literal of a
//! statement ever appears here, only names.

use super::Denial;
use crate::policy::{Origin, RelationPattern, Rule, Scope};
use crate::sql::settings::{self, Bound};
use crate::sql::{Class, Columns, FunctionName, Hang, Implied, Kind, Setting, Statement, Touch, Unreadable};

/// What the rules leave uncovered of a touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gap {
    /// The relation, under this class.
    Relation,
    /// The relation as a whole: only some of its columns are covered.
    Whole,
    /// These columns.
    Columns(Vec<String>),
}

/// A statement holds parts that were not understood.
pub(super) fn opaque(statement: &Statement, scope: &Scope) -> Box<Denial> {
    let is_missing = |reason: &str| reason.ends_with("does not exist in the live schema");
    // What stands in FROM without being there has no columns and no whole rows either.
    let follows = |reason: &str| reason.ends_with("nothing in FROM");
    let all = statement.opaque.iter().map(String::as_str);
    let missing = all.clone().any(is_missing);
    let unresolved = missing && all.clone().all(|reason| is_missing(reason) || follows(reason));
    let reasons: Vec<&str> = all.filter(|reason| !missing || !follows(reason)).take(3).collect();
    let (code, hint) = if unresolved {
        (
            "unresolved",
            "check the name and the schema: an unqualified name is looked up along the search path",
        )
    } else {
        (
            "opaque",
            "no rule can allow what is not understood: write it in another way, or ask the operator",
        )
    };
    deny(
        code,
        scope.origin.clone(),
        scope,
        &verb(statement.class),
        reasons.join("; "),
        hint,
    )
}

/// DDL for which the policy gives no owner, or more than one.
pub(super) fn owner(touch: &Touch, owners: &[std::sync::Arc<str>], beyond: bool, scope: &Scope) -> Box<Denial> {
    let names = owners.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    let (code, detail, hint) = if beyond {
        (
            "owner-beyond-ceiling",
            format!("the operator's ceiling does not let this table's DDL run as {names}"),
            "ask the operator to add `as` to the ceiling's rule for these tables",
        )
    } else {
        (
            "owner-unclear",
            "the statement touches tables whose rules name different owners under `as`, or none".to_owned(),
            "split the statement, or give the rules of all its tables the same `as`",
        )
    };
    let asked = format!("{} {}.{}", verb(touch.class), touch.schema, touch.name);
    deny(code, scope.origin.clone(), scope, &asked, detail, hint)
}

/// A text could not be read at all.
pub(super) fn unreadable(unreadable: &Unreadable, scope: &Scope) -> Denial {
    let (code, hint) = match unreadable {
        Unreadable::Syntax { .. } => ("syntax-error", "correct the statement"),
        Unreadable::TooLarge => (
            "too-large",
            "send it in several smaller statements, or load the data with COPY",
        ),
        Unreadable::TooDeep => ("too-deep", "nest less, or split the statement"),
        Unreadable::Nul => ("nul-byte", "remove the NUL byte"),
        Unreadable::Crashed => ("reader-failed", "tell the operator: the statement made the reader fail"),
        Unreadable::TooSlow => ("reader-slow", "send it in several smaller statements"),
        Unreadable::Busy => ("reader-busy", "try again, with fewer large statements at the same time"),
    };
    *deny(
        code,
        scope.origin.clone(),
        scope,
        "a statement that cannot be read",
        unreadable.to_string(),
        hint,
    )
}

/// No rule of the scope covers a touch.
pub(super) fn touch(touch: &Touch, gap: &Gap, scope: &Scope) -> Box<Denial> {
    let relation = relation(touch);
    let near = nearest(&scope.can, touch);
    let (code, detail) = match (gap, near) {
        (Gap::Columns(columns), _) => (
            "column-not-allowed",
            format!(
                "{} of {relation} is not among the columns that the scope may {}",
                list(columns),
                touch.class
            ),
        ),
        (Gap::Whole, _) => (
            "column-not-allowed",
            format!(
                "it takes {relation} as a whole, and the scope may {} only some of its columns",
                touch.class
            ),
        ),
        (Gap::Relation, Some(rule)) if covers(rule, touch) && !rule.classes.is_empty() => {
            let granted: Vec<&str> = rule.classes.iter().map(|class| class.as_str()).collect();
            (
                "class-not-allowed",
                format!("the scope may only {} {relation}", granted.join(", ")),
            )
        }
        (Gap::Relation, Some(rule)) if covers_name(rule, touch) && touch.kind != Kind::Relation => (
            "object-not-allowed",
            format!(
                "{relation} is a {}: a rule must name its kind under objects",
                touch.kind
            ),
        ),
        (Gap::Relation, _) => (
            if touch.kind == Kind::Relation {
                "table-not-allowed"
            } else {
                "object-not-allowed"
            },
            format!("no rule of the scope covers {relation}"),
        ),
    };
    let origin = near.map_or(&scope.origin, |rule| &rule.origin);
    let hint = if touch.schema.contains('.') || touch.name.contains('.') {
        "no rule covers a name that holds a dot".to_owned()
    } else {
        format!(
            "add to can: - {{ statements: [{}], tables: [{}]{} }}",
            touch.class,
            yaml(touch),
            yaml_more(touch, gap)
        )
    };
    deny(code, origin.clone(), scope, &asked(touch, gap), detail, &hint)
}

/// The scope covers a touch, the operator's ceiling does not.
pub(super) fn ceiling(touch: &Touch, gap: &Gap, scope: &Scope) -> Box<Denial> {
    let origin = nearest(&scope.ceiling, touch).map_or(&scope.origin, |rule| &rule.origin);
    let asked = asked(touch, gap);
    let detail = "the scope allows it, the operator's ceiling does not".to_owned();
    let hint = format!("ask the operator: the ceiling does not allow {asked}");
    deny("exceeds-ceiling", origin.clone(), scope, &asked, detail, &hint)
}

/// The broker's own schema is out of everybody's reach.
pub(super) fn brokers_own(touch: &Touch, scope: &Scope) -> Box<Denial> {
    let detail = format!("{} is the broker's own schema: no rule reaches it", touch.schema);
    let hint = "name the tables themselves: what is masked is masked there";
    let asked = asked(touch, &Gap::Relation);
    deny("never", scope.origin.clone(), scope, &asked, detail, hint)
}

/// The operator put a relation out of everybody's reach.
pub(super) fn never(touch: &Touch, never: &RelationPattern, scope: &Scope) -> Box<Denial> {
    let detail = format!("{} is under `never`: no rule reaches it", relation(touch));
    let hint = format!("ask the operator about {} of {}", never.pattern.as_str(), never.origin);
    deny(
        "never",
        never.origin.clone(),
        scope,
        &asked(touch, &Gap::Relation),
        detail,
        &hint,
    )
}

/// A parent, a partition, a child or a table that a foreign key clears along is out of everybody's reach.
pub(super) fn reaches_never(
    statement: &Statement,
    (schema, name): (&String, &String),
    never: &RelationPattern,
    scope: &Scope,
) -> Box<Denial> {
    let reached = format!("{}.{}", shown(schema), shown(name));
    let detail =
        format!("it reaches {reached}, which shares rows with what it names and is under `never`: no rule reaches it");
    let hint = format!("ask the operator about {} of {}", never.pattern.as_str(), never.origin);
    let asked = format!("{} {reached}", verb(statement.class));
    deny("never", never.origin.clone(), scope, &asked, detail, &hint)
}

/// No rule covers what a view reads, and none names the view so that it covers it.
pub(super) fn behind_view(implied: &Implied, reached: &Touch, gap: &Gap, scope: &Scope) -> Box<Denial> {
    let mut denial = touch(reached, gap, scope);
    let Some((schema, name)) = implied.views.first() else {
        return denial;
    };
    let view = format!("{}.{}", shown(schema), shown(name));
    if implied.leaks {
        denial.detail = format!(
            "{view} keeps rows of {} to itself, and a condition of this statement can fail on such a row and show it",
            relation(reached)
        );
        denial.hint = format!(
            "compare columns of {view} with constants only, or ask its owner: ALTER VIEW {view} SET (security_barrier)"
        );
    } else {
        denial.detail = format!("{view} reads it: {}", denial.detail);
        denial.hint = format!(
            "name the view itself, without a glob: - {{ statements: [{}], tables: [{view}] }}",
            implied.class
        );
    }
    denial
}

/// A function is neither safe nor named.
pub(super) fn function(function: &FunctionName, scope: &Scope, by_ceiling: bool) -> Box<Denial> {
    let name = format!("{}.{}", shown(&function.schema), shown(&function.name));
    let rules = if by_ceiling { &scope.ceiling } else { &scope.can };
    let origin = rules
        .iter()
        .find(|rule| !rule.functions.is_empty())
        .map_or(&scope.origin, |rule| &rule.origin);
    let asked = format!("function {name}");
    let (code, detail, hint) = if by_ceiling {
        (
            "exceeds-ceiling",
            format!("the scope names {name}, the operator's ceiling does not"),
            format!("ask the operator: the ceiling does not allow {asked}"),
        )
    } else {
        (
            "function-not-allowed",
            not_safe(function, &name),
            format!(
                "add to can: - {{ functions: [\"{}.{}\"] }}",
                function.schema.escape_default(),
                function.name.escape_default()
            ),
        )
    };
    deny(code, origin.clone(), scope, &asked, detail, &hint)
}

/// Something that the scope may not make runs a function which would get another body.
pub(super) fn hangs(hang: &Hang, missing: Option<Box<Denial>>, scope: &Scope) -> Box<Denial> {
    let name = name(&hang.function.schema, &hang.function.name);
    let runs = format!(
        "{} runs {name}, and would run what this statement makes of it",
        hang.on.escape_debug()
    );
    let asked = format!("function {name}, which others run");
    match missing {
        Some(missing) => deny(
            "function-attached",
            missing.origin,
            scope,
            &asked,
            format!("{runs}: {}", missing.detail),
            &format!("take another name for the function, or {}", missing.hint),
        ),
        None => deny(
            "function-attached",
            scope.origin.clone(),
            scope,
            &asked,
            runs,
            "take another name for the function: no rule can allow this",
        ),
    }
}

/// Why nothing lets a function be called.
fn not_safe(function: &FunctionName, name: &str) -> String {
    let reach = match function.schema.as_str() {
        "pg_catalog" => crate::sql::functions::reach(&function.name),
        _ => None,
    };
    match reach {
        Some(reach) => format!("{name} is not safe, and no rule names it. {}", reach.why()),
        None => format!("{name} is not among the safe functions, operators and casts, and no rule names it"),
    }
}

/// A setting may not be changed like that, or not be read.
pub(super) fn setting(setting: &Setting, changes: bool, scope: &Scope) -> Box<Denial> {
    let name = shown(&setting.name);
    let limit = scope.limits.of_setting(&setting.name);
    let known = setting.name == "search_path" || settings::bound(&setting.name).is_some();
    let origin = limit.map_or(&scope.origin, |limit| &limit.origin);
    let (verb, detail) = match (changes, known) {
        (false, _) => ("SHOW", format!("{name} is not among the settings that may be read")),
        (true, false) => ("SET", format!("{name} is not among the settings that may be changed")),
        (true, true) => ("SET", format!("{name} may be changed, but not to this value")),
    };
    let hint = match (setting.name.as_str(), limit) {
        ("search_path", _) => "name only schemas of the scope's tables beside the path that the session began with, or write the schema with the name".to_owned(),
        ("role" | "session_authorization", _) => {
            "leave it out: a session stays the role it began as; as: in a rule names the owner that DDL runs as"
                .to_owned()
        }
        (_, Some(limit)) => format!("choose a time above 0 and up to {} s", limit.value.as_secs()),
        ("default_transaction_read_only", _) if changes => {
            "say READ WRITE where a transaction begins; RESET goes back to how the session began".to_owned()
        }
        _ if changes => match settings::bound(&setting.name) {
            Some(Bound::OneOf(words)) => format!("leave it out, or choose one of {}", words.join(", ")),
            Some(Bound::Utf8) => "leave it out, or choose UTF8".to_owned(),
            Some(Bound::Memory) => "choose a size up to 256 MB".to_owned(),
            Some(Bound::Timeout) => "choose a time above 0".to_owned(),
            Some(Bound::Any | Bound::Limited) | None => "leave it out".to_owned(),
        },
        _ => "leave it out".to_owned(),
    };
    deny(
        "setting-not-allowed",
        origin.clone(),
        scope,
        &format!("{verb} {name}"),
        detail,
        &hint,
    )
}

/// A class that no rule names.
pub(super) fn class(statement: &Statement, scope: &Scope, by_ceiling: bool) -> Box<Denial> {
    let asked = verb(statement.class);
    let class = statement.class;
    let (code, detail, hint) = if by_ceiling {
        (
            "exceeds-ceiling",
            format!("the scope names {class}, the operator's ceiling does not"),
            format!("ask the operator: the ceiling does not allow {class}"),
        )
    } else {
        (
            "class-not-allowed",
            format!("no rule of the scope names {class}"),
            format!("add {class} to the statements of a rule in can:"),
        )
    };
    deny(code, scope.origin.clone(), scope, &asked, detail, &hint)
}

pub(super) fn deny(
    code: &'static str,
    origin: Origin,
    scope: &Scope,
    asked: &str,
    detail: String,
    hint: &str,
) -> Box<Denial> {
    Box::new(Denial {
        code,
        origin,
        scope: scope.name.clone(),
        asked: asked.to_owned(),
        detail,
        hint: hint.to_owned(),
    })
}

fn covers(rule: &Rule, touch: &Touch) -> bool {
    covers_name(rule, touch) && (touch.kind == Kind::Relation || rule.objects.contains(&touch.kind))
}

fn covers_name(rule: &Rule, touch: &Touch) -> bool {
    rule.tables.iter().any(|table| table.covers(&touch.schema, &touch.name))
}

/// The rule an author would look at: one for the same table, else one for the same class.
fn nearest<'r>(rules: &'r [Rule], touch: &Touch) -> Option<&'r Rule> {
    let same = |rule: &&Rule| rule.classes.contains(&touch.class);
    rules
        .iter()
        .find(|rule| covers(rule, touch) && same(rule))
        .or_else(|| rules.iter().find(|rule| covers(rule, touch)))
        .or_else(|| rules.iter().find(|rule| covers_name(rule, touch)))
        .or_else(|| rules.iter().find(same))
}

/// `TRUNCATE app.orders`, `SELECT app.customers (email)`.
fn asked(touch: &Touch, gap: &Gap) -> String {
    let relation = relation(touch);
    let verb = match touch.kind {
        Kind::Relation => verb(touch.class),
        kind => format!(
            "{} {}",
            verb(touch.class),
            kind.as_str().to_ascii_uppercase().replace('-', " ")
        ),
    };
    match (gap, &touch.columns) {
        (Gap::Columns(columns), _) => format!("{verb} {relation} ({})", list(columns)),
        (Gap::Whole, _) => format!("{verb} {relation} (whole row)"),
        (Gap::Relation, _) => format!("{verb} {relation}"),
    }
}

/// A class as it stands in a statement.
pub(super) fn verb(class: Class) -> String {
    class.as_str().to_ascii_uppercase().replace('-', " ")
}

pub(super) fn relation(touch: &Touch) -> String {
    name(&touch.schema, &touch.name)
}

/// A name with its schema.
pub(super) fn name(schema: &str, name: &str) -> String {
    format!("{}.{}", shown(schema), shown(name))
}

fn list(columns: &[String]) -> String {
    let mut text: Vec<String> = columns.iter().take(8).map(|column| shown(column)).collect();
    if columns.len() > text.len() {
        text.push("…".to_owned());
    }
    text.join(", ")
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A name as it would have to be written in SQL, with control characters made visible.
fn shown(name: &str) -> String {
    if is_plain(name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.escape_debug())
    }
}

/// A relation as a pattern of the policy.
fn yaml(touch: &Touch) -> String {
    if is_plain(&touch.schema) && is_plain(&touch.name) {
        format!("{}.{}", touch.schema, touch.name)
    } else {
        format!("\"{}.{}\"", touch.schema.escape_default(), touch.name.escape_default())
    }
}

fn yaml_more(touch: &Touch, gap: &Gap) -> String {
    if touch.kind != Kind::Relation {
        return format!(", objects: [{}]", touch.kind);
    }
    match (gap, &touch.columns) {
        (Gap::Columns(columns), _) => format!(", columns: [{}]", list(columns)),
        (Gap::Relation, Columns::Named(columns)) if !columns.is_empty() && touch.class == Class::Select => {
            format!(", columns: [{}]", list(columns))
        }
        _ => String::new(),
    }
}
