//! What the limits of a scope say about one statement, and the refusals that follow. Every one cites the line that set
//! the limit.

use super::reason::{relation, verb};
use super::{Denial, Permit};
use crate::policy::{Limit, Origin, Scope};
use crate::sql::{Block, Class, Effect, Names, Setting, Statement, Uncounted};

/// What the session has to watch while a statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Its result is counted (`max-rows`, `max-bytes`), or looked through row by row (`detect`): it may have to be cut.
    pub result: bool,
    /// What it writes is counted before it is permanent (`max-affected-rows`).
    pub writes: bool,
    /// It lets what was deferred run, so that is made to run and counted before (`max-affected-rows`).
    pub commits: bool,
}

impl Watch {
    /// Nothing.
    pub const NOTHING: Self = Self {
        result: false,
        writes: false,
        commits: false,
    };

    /// What the scope's limits ask for of a permitted statement. Statements that cannot run inside a transaction block are never
    /// counted: they bring no rows, and what they change is not rows. A procedure that commits cannot, either: with
    /// [`commits_itself`] it runs inside a block or not at all.
    pub fn of(permit: &Permit, scope: &Scope) -> Self {
        let limits = &scope.limits;
        let changes = permit.effect == Effect::Change;
        // A cursor runs its query when it is read, an EXECUTE what was prepared.
        let (brings, may_write) = match (permit.class, &permit.names) {
            (Class::Cursor, Names::Cursor(_)) | (Class::Prepare, Names::Execute(_)) | (Class::Call, _) => (true, true),
            (Class::Cursor, _) => (false, changes),
            (Class::CopyIn | Class::Do, _) => (false, true),
            (Class::Transaction, _) => (false, permit.block == Block::Settles),
            (
                Class::Select
                | Class::Insert
                | Class::Update
                | Class::Delete
                | Class::Merge
                | Class::CopyOut
                | Class::Explain,
                _,
            ) => (true, changes),
            _ => (false, false),
        };
        Self {
            result: brings && (limits.max_rows.is_some() || limits.max_bytes.is_some() || !scope.detect.is_empty()),
            writes: may_write && limits.max_affected_rows.is_some(),
            commits: matches!(permit.block, Block::Commits { .. }) && limits.max_affected_rows.is_some(),
        }
    }

    /// True when nothing else may run until its end was looked at.
    pub fn runs_alone(self) -> bool {
        self.result || self.writes
    }

    /// True when there is nothing to watch.
    pub fn is_nothing(self) -> bool {
        self == Self::NOTHING
    }
}

/// `read-only`: no class that writes, no way back to read-write.
pub(super) fn writing(statement: &Statement, scope: &Scope) -> Option<Box<Denial>> {
    let line = scope.limits.read_only.as_ref()?;
    let touched = statement.touches.iter().find(|touch| writes(touch.class));
    let asked = match touched {
        Some(touch) => format!("{} {}", verb(touch.class), relation(touch)),
        None if writes(statement.class) => verb(statement.class),
        None => return None,
    };
    Some(Box::new(denial(
        "read-only",
        line,
        scope,
        asked,
        "the scope is read-only".to_owned(),
        "use a scope that may write, or take `read-only` out of this one",
    )))
}

/// `read-only`: the settings that would switch it off. `RESET` goes back to what the broker logged in with, which is
/// on, except for the transaction's own setting.
pub(super) fn read_write(setting: &Setting, scope: &Scope) -> Option<Box<Denial>> {
    let line = scope.limits.read_only.as_ref()?;
    let on = |value: &String| {
        ["on", "true", "yes", "1"]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(value))
    };
    let fine = match setting.name.as_str() {
        "transaction_read_only" => setting.value.as_ref().is_some_and(on),
        "default_transaction_read_only" => setting.value.as_ref().is_none_or(on),
        _ => true,
    };
    (!fine).then(|| {
        Box::new(denial(
            "read-only",
            line,
            scope,
            format!("SET {}", setting.name),
            "the scope is read-only, and so is every transaction of it".to_owned(),
            "leave it out: transactions begin read-only",
        ))
    })
}

/// `no-where`: an UPDATE or DELETE that no WHERE bounds.
pub(super) fn unbounded(statement: &Statement, scope: &Scope) -> Option<Box<Denial>> {
    let line = scope.limits.no_where.as_ref()?;
    let touch = statement.unbounded.first()?;
    let relation = relation(touch);
    Some(Box::new(denial(
        "no-where",
        line,
        scope,
        format!("{} {relation} without WHERE", verb(touch.class)),
        format!("no condition of the statement looks at a column of {relation}: every row would be hit"),
        "say which rows: WHERE id = …; a constant, a parameter or another table's column does not count",
    )))
}

/// `max-affected-rows`: rows that cannot be counted in time.
pub(super) fn uncountable(statement: &Statement, scope: &Scope) -> Option<Box<Denial>> {
    let limit = scope.limits.max_affected_rows.as_ref()?;
    let (what, why, cure) = match statement.uncounted? {
        Uncounted::Foreign => (
            "of a foreign table",
            "rows of a foreign table are not counted by the server, so the limit cannot hold",
            "use a scope without max-affected-rows, or work on the other server itself",
        ),
        Uncounted::Hold => (
            "WITH HOLD over functions that may write",
            "what such a cursor writes when the transaction commits cannot be counted before, so the limit cannot hold",
            "leave WITH HOLD out, or use a scope without max-affected-rows",
        ),
    };
    Some(Box::new(denial(
        "max-affected-rows",
        &limit.origin,
        scope,
        format!("{} {what}", verb(statement.class)),
        why.to_owned(),
        cure,
    )))
}

/// `max-affected-rows`: code that can commit by itself, outside of a transaction block in which it cannot.
pub fn commits_itself(class: Class, scope: &Scope) -> Option<Denial> {
    let limit = scope.limits.max_affected_rows.as_ref()?;
    matches!(class, Class::Call | Class::Do).then(|| {
        denial(
            "max-affected-rows",
            &limit.origin,
            scope,
            format!("{} outside of a transaction block", verb(class)),
            "its body could commit before its rows were counted, so the limit could not hold".to_owned(),
            "put it between BEGIN and COMMIT: inside a block its body cannot commit",
        )
    })
}

/// A result has more rows than `max-rows`.
pub fn too_many_rows(class: Class, limit: &Limit<u64>, scope: &Scope) -> Denial {
    let most = limit.value;
    denial(
        "max-rows",
        &limit.origin,
        scope,
        format!("{} with more than {most} rows", verb(class)),
        format!("the result was cut: the scope's max-rows is {most}"),
        "ask for fewer rows (WHERE, LIMIT), or raise max-rows",
    )
}

/// A result has more bytes than `max-bytes`.
pub fn too_many_bytes(class: Class, limit: &Limit<u64>, scope: &Scope) -> Denial {
    let most = limit.value;
    denial(
        "max-bytes",
        &limit.origin,
        scope,
        format!("{} with more than {most} bytes", verb(class)),
        format!("the result was cut: the scope's max-bytes is {most}"),
        "ask for less (columns, WHERE, LIMIT), or raise max-bytes",
    )
}

/// A row is larger than what is looked through under `detect`, which `line` asks for.
pub fn too_large_a_row(class: Class, line: &Origin, most: usize, scope: &Scope) -> Denial {
    let most = most / 1024 / 1024;
    denial(
        "row-too-large",
        line,
        scope,
        format!("{} of a row with more than {most} MiB", verb(class)),
        format!("the result was cut: the scope looks through what is read (`detect`), up to {most} MiB a row"),
        "leave the large column out, or read it in parts: substr(column, 1, 1000000)",
    )
}

/// A statement changed more rows than `max-affected-rows`: it is rolled back.
pub fn too_many_affected(class: Class, count: u64, limit: &Limit<u64>, scope: &Scope) -> Denial {
    denial(
        "max-affected-rows",
        &limit.origin,
        scope,
        format!("{} of {count} rows", verb(class)),
        format!(
            "it changed {count} rows, cascades and triggers included; the scope's max-affected-rows is {}; nothing of it remains",
            limit.value
        ),
        "change fewer rows per statement, or raise max-affected-rows",
    )
}

/// What was deferred to the commit changed more rows than `max-affected-rows`: the transaction is rolled back.
pub fn too_many_deferred(count: u64, limit: &Limit<u64>, scope: &Scope) -> Denial {
    denial(
        "max-affected-rows",
        &limit.origin,
        scope,
        format!("COMMIT of {count} rows more"),
        format!(
            "deferred constraint triggers changed {count} rows; the scope's max-affected-rows is {}; nothing of the transaction remains",
            limit.value
        ),
        "change fewer rows per transaction, or raise max-affected-rows",
    )
}

/// The server does not count what is written, so the limit cannot hold.
pub fn uncounted(class: Class, limit: &Limit<u64>, scope: &Scope) -> Denial {
    denial(
        "max-affected-rows",
        &limit.origin,
        scope,
        format!("{} of rows that are not counted", verb(class)),
        "the server's track_counts is off: what a statement changes cannot be counted".to_owned(),
        "ask the operator: track_counts must be on where max-affected-rows is to hold",
    )
}

/// A statement ran longer than `statement-timeout`, and the server did not end it.
pub fn overrun(limit: &Limit<std::time::Duration>, scope: &Scope) -> Denial {
    denial(
        "statement-timeout",
        &limit.origin,
        scope,
        "a statement that runs too long".to_owned(),
        format!(
            "it was cancelled: the scope's statement-timeout is {} s",
            limit.value.as_secs_f64()
        ),
        "do less in one statement, or raise statement-timeout",
    )
}

/// Classes that write rows, objects or rights. LOCK and NOTIFY change nothing that stays.
fn writes(class: Class) -> bool {
    !matches!(
        class,
        Class::Select
            | Class::CopyOut
            | Class::Cursor
            | Class::Explain
            | Class::Listen
            | Class::Lock
            | Class::Notify
            | Class::Prepare
            | Class::Set
            | Class::Show
            | Class::Transaction
    )
}

fn denial(code: &'static str, line: &Origin, scope: &Scope, asked: String, detail: String, hint: &str) -> Denial {
    Denial {
        code,
        origin: line.clone(),
        scope: scope.name.clone(),
        asked,
        detail,
        hint: hint.to_owned(),
    }
}
