//! One statement against one scope: default deny.
//!
//! A statement is allowed when nothing of it is opaque, every setting is within its bounds, every relation it touches is
//! covered by a rule of the scope *and* by a rule of the operator's ceiling and by no `never`, and every function it
//! calls is safe or named by both.

use std::sync::Arc;

use super::reason::{self, Gap};
use super::rewrite::{self, Masked};
use super::{Decision, Denial, Permit, limit, sights};
use crate::mask;
use crate::policy::{Origin, RelationPattern, Rule, Scope, words};
use crate::sql::splice::{Edits, SpliceFault, splice};
use crate::sql::{
    Ask, Class, Columns, FunctionName, Hang, Implied, Kind, Reached, Relation, Setting, Snapshot, Statement, TEMPORARY,
    Touch, Unreadable, functions, settings,
};

/// What a statement is judged against besides its scope.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The text that the statement was read from.
    pub text: &'a str,
    /// The schema it was read against.
    pub snapshot: &'a Snapshot,
    /// Puts something else in the place of relations: [`splice()`], here or in another process.
    pub splice: &'a Splice<'a>,
}

/// [`splice()`], wherever it runs.
type Splice<'a> = dyn Fn(&str, &Edits) -> Result<String, SpliceFault> + 'a;

impl std::fmt::Debug for Ground<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").finish_non_exhaustive()
    }
}

impl<'a> Ground<'a> {
    /// A text that is rewritten in this process where that is needed.
    pub fn here(text: &'a str, snapshot: &'a Snapshot) -> Self {
        Self {
            text,
            snapshot,
            splice: &splice,
        }
    }
}

/// Judges a statement. Pure: the same statement, scope and schema always give the same decision.
pub fn judge(statement: &Statement, scope: &Scope, ground: &Ground<'_>) -> Decision {
    match permitted(statement, scope, ground) {
        Ok(permit) => Decision::Allow(permit),
        Err(denial) => Decision::Deny(*denial),
    }
}

fn permitted(statement: &Statement, scope: &Scope, ground: &Ground<'_>) -> Result<Permit, Box<Denial>> {
    let masked = (!scope.masks.is_empty()).then(|| Masked::new(scope, ground.snapshot));
    let mut rules = allowed(statement, scope, masked.as_ref(), ground.snapshot)?;
    sights::by_other_names(statement, scope, ground.snapshot)?;
    let owner = owner(statement, scope)?;
    let (mut text, mut shown) = (None, Arc::default());
    let mut edits = Edits::default();
    if let Some(masked) = &masked {
        let (replacements, columns) = masked.judge(statement)?;
        if !replacements.is_empty() {
            edits.rows = replacements;
            for rule in scope.masks.iter().filter(|rule| columns.contains(&rule.name())) {
                if !rules.contains(&rule.origin) {
                    rules.push(rule.origin.clone());
                }
            }
            shown = columns.into_iter().collect();
        }
    }
    edits.values = rewrite::given(statement, (scope, ground.snapshot), masked.as_ref())?;
    if !edits.is_empty() {
        let own = ground.text.get(statement.span.clone()).unwrap_or_default();
        let spliced = (ground.splice)(own, &edits);
        text = Some(
            spliced
                .map_err(|fault| rewrite::not_spliced(statement, &fault, (scope, ground.snapshot), masked.as_ref()))?
                .into(),
        );
    }
    Ok(Permit {
        class: statement.class,
        effect: statement.effect,
        barrier: statement.barrier,
        block: statement.block,
        names: statement.names.clone(),
        foreign: statement.functions.iter().any(|function| !is_safe(function)),
        asks: statement.asks.clone().into(),
        rules: rules.into(),
        defines: match owner {
            Some(_) => defines(statement),
            None => Arc::default(),
        },
        lent: match owner {
            Some(_) => lent(statement),
            None => Arc::default(),
        },
        owner,
        text,
        masked: shown,
        copies: statement.copies.clone().map(Arc::new),
        blind: statement
            .touches
            .iter()
            .any(|touch| is_blind(touch, scope, ground.snapshot)),
        narrows: statement.settings.iter().any(|setting| setting.name == settings::KINDS),
    })
}

/// Whether rows are changed of which the scope may not read every column.
fn is_blind(touch: &Touch, scope: &Scope, snapshot: &Snapshot) -> bool {
    let changes = matches!(touch.class, Class::Update | Class::Merge) && touch.kind == Kind::Relation;
    let relation = snapshot.relation(&touch.schema, &touch.name);
    relation.filter(|_| changes).is_some_and(|relation| {
        let reads = |column: &String| covers_column(Class::Select, relation, column, scope);
        !relation.columns.iter().all(reads)
    })
}

/// The refusal of a text that could not be read.
pub fn denied_unreadable(unreadable: &Unreadable, scope: &Scope) -> Denial {
    reason::unreadable(unreadable, scope)
}

/// A refusal that the session decides by itself, such as an unknown prepared statement.
pub fn denied(code: &'static str, asked: &str, detail: &str, hint: &str, scope: &Scope) -> Denial {
    Denial {
        code,
        origin: scope.origin.clone(),
        scope: scope.name.clone(),
        asked: asked.to_owned(),
        detail: detail.to_owned(),
        hint: hint.to_owned(),
    }
}

/// Judges the value of a parameter. NULL finds no setting to read, and as a search path means the usual one.
pub fn bound(ask: Ask, value: Option<&[u8]>, scope: &Scope, snapshot: &Snapshot) -> Result<(), Box<Denial>> {
    let Some(value) = value else { return Ok(()) };
    let value = std::str::from_utf8(value);
    let (name, fits) = match ask {
        Ask::Setting(_) => {
            let fits = value.is_ok_and(|name| settings::readable(&name.to_ascii_lowercase()));
            ("a setting that a parameter names", fits)
        }
        Ask::Path(_) => (
            "search_path",
            value.is_ok_and(|path| path_within(path, scope, snapshot)),
        ),
    };
    if fits {
        return Ok(());
    }
    // A value never appears in a refusal.
    let setting = Setting {
        name: name.to_owned(),
        value: None,
    };
    Err(reason::setting(&setting, matches!(ask, Ask::Path(_)), scope))
}

/// Judges functions that a parameter's declared type brings along.
pub fn brought(functions: &[FunctionName], scope: &Scope) -> Result<(), Box<Denial>> {
    functions
        .iter()
        .try_for_each(|function| callable(function, scope, &mut Vec::new()))
}

/// The rules that allow the statement, or why it is refused. The refusal is boxed: it is much larger than the answer.
fn allowed(
    statement: &Statement,
    scope: &Scope,
    masked: Option<&Masked<'_>>,
    snapshot: &Snapshot,
) -> Result<Vec<Origin>, Box<Denial>> {
    if !statement.opaque.is_empty() {
        return Err(reason::opaque(statement, scope));
    }
    if let Some(denial) = limit::writing(statement, scope) {
        return Err(denial);
    }
    let mut rules = Vec::new();
    within(statement, scope, masked, &mut rules)?;
    for setting in &statement.settings {
        settable(setting, statement.class, scope, snapshot, &mut rules)?;
    }
    classed(statement, scope, &mut rules)?;
    limit::unbounded(statement, scope)
        .or_else(|| limit::uncountable(statement, scope))
        .map_or(Ok(rules), Err)
}

/// Whether everything that a statement touches, reaches and calls is covered, whatever the limits say about it, and no
/// view behind it reads what is masked.
pub(super) fn reaches_no_further(statement: &Statement, scope: &Scope, masked: Option<&Masked<'_>>) -> bool {
    statement.opaque.is_empty()
        && within(statement, scope, masked, &mut Vec::new()).is_ok()
        && masked.is_none_or(|masked| masked.behind_views(statement).is_ok())
}

/// Everything that a statement touches, reaches without naming it, and calls.
fn within(
    statement: &Statement,
    scope: &Scope,
    masked: Option<&Masked<'_>>,
    rules: &mut Vec<Origin>,
) -> Result<(), Box<Denial>> {
    for touch in &statement.touches {
        let shown = masked.and_then(|masked| masked.columns_of(touch, statement));
        covered(shown.as_ref().unwrap_or(touch), scope, rules)?;
    }
    if let Some((relation, never)) = statement.reaches.iter().find_map(|(schema, name)| {
        let never = scope.never.iter().find(|never| never.covers(schema, name))?;
        Some(((schema, name), never))
    }) {
        return Err(reason::reaches_never(statement, relation, never, scope));
    }
    for implied in &statement.implied {
        behind(implied, scope, rules)?;
    }
    for function in &statement.functions {
        callable(function, scope, rules)?;
    }
    for hang in &statement.hangs {
        attachable(hang, scope, rules).map_err(|denial| reason::hangs(hang, denial, scope))?;
    }
    Ok(())
}

/// Another body where something runs it: whoever may call the function and make that anew could have it so anyway.
fn attachable(hang: &Hang, scope: &Scope, rules: &mut Vec<Origin>) -> Result<(), Option<Box<Denial>>> {
    let place = hang.place.as_ref().ok_or(None)?;
    callable(&hang.function, scope, rules)?;
    Ok(covered(place, scope, rules)?)
}

fn cite(rules: &mut Vec<Origin>, rule: &Rule) {
    if !rules.contains(&rule.origin) {
        rules.push(rule.origin.clone());
    }
}

/// A touch: not the broker's own, no `never`, a rule of the scope, a rule of the ceiling.
fn covered(touch: &Touch, scope: &Scope, rules: &mut Vec<Origin>) -> Result<(), Box<Denial>> {
    if touch.schema == mask::SCHEMA {
        return Err(reason::brokers_own(touch, scope));
    }
    if let Some(never) = scope
        .never
        .iter()
        .find(|never| never.covers(&touch.schema, &touch.name))
    {
        return Err(reason::never(touch, never, scope));
    }
    match cover(touch, &scope.can) {
        Ok(used) => used.iter().for_each(|rule| cite(rules, rule)),
        Err(gap) => return Err(reason::touch(touch, &gap, scope)),
    }
    match cover(touch, &scope.ceiling) {
        Ok(_) => Ok(()),
        Err(gap) => Err(reason::ceiling(touch, &gap, scope)),
    }
}

/// What stands behind a view: no `never`; then covered because a rule names the view itself, or like anything else. The
/// operator's ceiling is asked in the same way.
fn behind(implied: &Implied, scope: &Scope, rules: &mut Vec<Origin>) -> Result<(), Box<Denial>> {
    let Implied {
        class,
        reached,
        views,
        leaks,
    } = implied;
    let named = |granted: &[Rule]| {
        let names = |schema: &str, name: &str| {
            granted.iter().any(|rule| {
                let covers = |table: &RelationPattern| table.pattern.is_literal() && table.covers(schema, name);
                rule.classes.contains(class) && rule.tables.iter().any(covers)
            })
        };
        !leaks && views.iter().any(|(schema, name)| names(schema, name))
    };
    match reached {
        Reached::Touch(touch) => {
            if let Some(never) = scope
                .never
                .iter()
                .find(|never| never.covers(&touch.schema, &touch.name))
            {
                return Err(reason::never(touch, never, scope));
            }
            if !named(&scope.can) {
                let gap = cover(touch, &scope.can).err();
                gap.map_or(Ok(()), |gap| Err(reason::behind_view(implied, touch, &gap, scope)))?;
            }
            match cover(touch, &scope.ceiling) {
                Err(gap) if !named(&scope.ceiling) => Err(reason::ceiling(touch, &gap, scope)),
                _ => Ok(()),
            }
        }
        Reached::Call(function) => callable(function, scope, rules),
    }
}

/// The rules that together cover a touch. Different columns may be covered by different rules; a whole relation only by
/// one without a column list.
fn cover<'r>(touch: &Touch, rules: &'r [Rule]) -> Result<Vec<&'r Rule>, Gap> {
    let fitting: Vec<&Rule> = rules
        .iter()
        .filter(|rule| {
            rule.classes.contains(&touch.class)
                && (touch.kind == Kind::Relation || rule.objects.contains(&touch.kind))
                && rule.tables.iter().any(|table| table.covers(&touch.schema, &touch.name))
        })
        .collect();
    let Some(first) = fitting.first() else {
        return Err(Gap::Relation);
    };
    if let Some(all) = fitting.iter().find(|rule| rule.columns.is_none()) {
        return Ok(vec![all]);
    }
    let Columns::Named(columns) = &touch.columns else {
        return Err(Gap::Whole);
    };
    let mut used: Vec<&Rule> = Vec::new();
    let mut missing = Vec::new();
    for column in columns {
        let holds = |rule: &&&Rule| rule.columns.as_ref().is_some_and(|listed| listed.contains(column));
        match fitting.iter().find(holds) {
            Some(rule) => used.push(rule),
            None => missing.push(column.clone()),
        }
    }
    if !missing.is_empty() {
        return Err(Gap::Columns(missing));
    }
    if used.is_empty() {
        used.push(first);
    }
    Ok(used)
}

/// Whether a scope and its ceiling let a column be read.
pub(super) fn covers_column(class: Class, relation: &Relation, column: &str, scope: &Scope) -> bool {
    covers(class, (&relation.schema, &relation.name), column, scope)
}

/// The same of the relation of this schema and name.
pub(super) fn covers(class: Class, (schema, name): (&str, &str), column: &str, scope: &Scope) -> bool {
    let touch = Touch {
        class,
        kind: Kind::Relation,
        schema: schema.to_owned(),
        name: name.to_owned(),
        columns: Columns::Named(vec![column.to_owned()]),
    };
    cover(&touch, &scope.can).is_ok() && cover(&touch, &scope.ceiling).is_ok()
}

/// The owner that DDL runs as: one that every touch which needs an owner is given, by a rule of the scope and by one of
/// the ceiling. What only wraps or prepares DDL runs as nobody else. What is temporary is the session's own, whatever `as`
/// its rule says: it is made by whom its rows are for, and nobody else's right to read comes with it.
fn owner(statement: &Statement, scope: &Scope) -> Result<Option<Arc<str>>, Box<Denial>> {
    let runs = statement.by_owner
        || words::needs_owner(statement.class)
        || matches!(statement.class, Class::Select | Class::Explain);
    let mut common: Option<Vec<Arc<str>>> = None;
    let touches = statement
        .touches
        .iter()
        .filter(|touch| runs && (words::needs_owner(touch.class) || statement.by_owner));
    for touch in touches {
        let (wanted, granted) = if touch.schema == TEMPORARY {
            (Vec::new(), Vec::new())
        } else {
            (owners(touch, &scope.can), owners(touch, &scope.ceiling))
        };
        let both: Vec<Arc<str>> = wanted.iter().filter(|owner| granted.contains(owner)).cloned().collect();
        if both.is_empty() && !wanted.is_empty() {
            return Err(reason::owner(touch, &wanted, true, scope));
        }
        let left: Vec<Arc<str>> = match &common {
            None => both.clone(),
            Some(before) => before.iter().filter(|owner| both.contains(owner)).cloned().collect(),
        };
        // Some of it with an owner and some without, or with two different ones: nobody could run it.
        if left.is_empty() && (!both.is_empty() || common.is_some_and(|before| !before.is_empty())) {
            return Err(reason::owner(touch, &both, false, scope));
        }
        common = Some(left);
    }
    Ok(common.and_then(|owners| owners.into_iter().next()))
}

/// What the statement makes, changes or empties as its owner.
fn defines(statement: &Statement) -> Arc<[(String, String)]> {
    let owned = |touch: &&Touch| statement.by_owner || words::needs_owner(touch.class);
    let touches = statement.touches.iter().filter(owned);
    touches
        .map(|touch| (touch.schema.clone(), touch.name.clone()))
        .collect()
}

/// The session's temporary relations that the statement reads: its owner has to be let.
fn lent(statement: &Statement) -> Arc<[String]> {
    let read = |touch: &&Touch| touch.schema == TEMPORARY && touch.class == Class::Select;
    let names = statement.touches.iter().filter(read).map(|touch| touch.name.clone());
    names.collect()
}

/// The owners under which `rules` cover a touch.
fn owners(touch: &Touch, rules: &[Rule]) -> Vec<Arc<str>> {
    rules
        .iter()
        .filter(|rule| {
            rule.classes.contains(&touch.class)
                && (touch.kind == Kind::Relation || rule.objects.contains(&touch.kind))
                && rule.tables.iter().any(|table| table.covers(&touch.schema, &touch.name))
        })
        .filter_map(|rule| rule.owner.clone())
        .collect()
}

/// A function: safe, or named by the scope and by the ceiling.
fn callable(function: &FunctionName, scope: &Scope, rules: &mut Vec<Origin>) -> Result<(), Box<Denial>> {
    let FunctionName { schema, name } = function;
    if is_safe(function) {
        return Ok(());
    }
    let names = |rule: &&Rule| rule.functions.iter().any(|pattern| pattern.covers(schema, name));
    let Some(rule) = scope.can.iter().find(names) else {
        return Err(reason::function(function, scope, false));
    };
    if !scope.ceiling.iter().any(|rule| names(&rule)) {
        return Err(reason::function(function, scope, true));
    }
    cite(rules, rule);
    Ok(())
}

fn is_safe(function: &FunctionName) -> bool {
    function.schema == "pg_catalog" && functions::is_safe(&function.name)
}

/// A setting: changed within its bounds or to a value that a preset needs, or readable.
fn settable(
    setting: &Setting,
    class: Class,
    scope: &Scope,
    snapshot: &Snapshot,
    rules: &mut Vec<Origin>,
) -> Result<(), Box<Denial>> {
    let Setting { name, value } = setting;
    let changes = value.is_some() || class == Class::Set;
    if !changes {
        return if settings::readable(name) {
            Ok(())
        } else {
            Err(reason::setting(setting, false, scope))
        };
    }
    // RESET ALL goes back to what the broker logged in with: the pins and the scope's limits. Roles stay as they are.
    if name == "all" && value.is_none() && class == Class::Set {
        return Ok(());
    }
    if let Some(denial) = limit::read_write(setting, scope) {
        return Err(denial);
    }
    if name == "search_path" {
        return match value {
            None => Ok(()),
            Some(value) if path_within(value, scope, snapshot) => Ok(()),
            Some(_) => Err(reason::setting(setting, true, scope)),
        };
    }
    let limit = scope.limits.of_setting(name);
    match (settings::bound(name), value) {
        (Some(_), None) => Ok(()),
        (Some(bound), Some(value)) if bound.admits(value, limit.map(|limit| limit.value)) => Ok(()),
        // A limit that the scope has is never lifted.
        (_, Some(value)) if limit.is_none() => {
            let names = |rule: &&Rule| {
                let values = rule.settings.get(name);
                values.is_some_and(|values| values.contains(&value.to_ascii_lowercase()))
            };
            match scope.can.iter().find(names) {
                Some(rule) if scope.ceiling.iter().any(|rule| names(&rule)) => {
                    cite(rules, rule);
                    Ok(())
                }
                _ => Err(reason::setting(setting, true, scope)),
            }
        }
        _ => Err(reason::setting(setting, true, scope)),
    }
}

/// A search path of schemas that rules of the scope name. Names are resolved against the new one from then on; a schema
/// from outside could still give other meanings to names inside of functions. The path that sessions begin with cannot,
/// as long as it is kept whole and in order: tools put their schema beside it, and go back to it.
fn path_within(value: &str, scope: &Scope, snapshot: &Snapshot) -> bool {
    let everybodys = |schema: &String| matches!(schema.as_str(), "" | "$user" | "pg_catalog");
    let named = |schema: &String| {
        let own = scope.can.iter().filter(|rule| rule.origin.preset.is_none());
        own.flat_map(|rule| &rule.tables)
            .any(|table| table.covers_schema(schema))
    };
    let Some(mut schemas) = settings::names(value, ',') else {
        return false;
    };
    schemas.retain(|schema| !everybodys(schema));
    let home: Vec<&String> = snapshot.home.iter().filter(|schema| !everybodys(schema)).collect();
    let kept = |at: usize| schemas.iter().skip(at).take(home.len()).eq(home.iter().copied());
    let at = (0..schemas.len()).find(|at| !home.is_empty() && kept(*at));
    let (before, after) = match at {
        Some(at) => (at, at + home.len()),
        None => (schemas.len(), schemas.len()),
    };
    schemas.iter().take(before).chain(schemas.iter().skip(after)).all(named)
}

/// The statement's own class, where its touches do not speak for it.
fn classed(statement: &Statement, scope: &Scope, rules: &mut Vec<Origin>) -> Result<(), Box<Denial>> {
    match statement.class {
        Class::Transaction | Class::Show | Class::Set => Ok(()),
        // They stand for what they touch, read nothing, or were judged when they were prepared.
        Class::Select
        | Class::Insert
        | Class::Update
        | Class::Delete
        | Class::Merge
        | Class::CopyIn
        | Class::CopyOut
        | Class::Explain
        | Class::Cursor
        | Class::Prepare => {
            if scope.can.is_empty() {
                Err(reason::class(statement, scope, false))
            } else {
                Ok(())
            }
        }
        Class::Truncate
        | Class::Create
        | Class::Alter
        | Class::Drop
        | Class::Comment
        | Class::Refresh
        | Class::Maintain
        | Class::Lock
            if !statement.touches.is_empty() =>
        {
            Ok(())
        }
        class => {
            let Some(rule) = scope.can.iter().find(|rule| rule.classes.contains(&class)) else {
                return Err(reason::class(statement, scope, false));
            };
            if !scope.ceiling.iter().any(|rule| rule.classes.contains(&class)) {
                return Err(reason::class(statement, scope, true));
            }
            cite(rules, rule);
            Ok(())
        }
    }
}

#[cfg(test)]
mod hanging;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod workloads;
