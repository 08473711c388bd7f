//! What the session knows by name, and the decisions it keeps.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::anew::Told;
use super::shape;
use crate::decide::judge::Ground;
use crate::decide::{Decision, Denial, Permit, judge};
use crate::policy::Scope;
use crate::reader::Reader;
use crate::sql::splice::{Edits, splice};
use crate::sql::{self, Barrier, Class, Names, Snapshot, Statement, Unreadable};

/// Decisions kept per runtime, by count and by bytes of SQL text.
const MAX_ENTRIES: usize = 8192;
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// A text that grows larger while masks are put into it is rewritten elsewhere.
const MAX_REWRITTEN: usize = 64 * 1024;
/// A longer text is rarely sent twice.
const MAX_TEXT: usize = 8 * 1024;

/// A text, read and judged under one scope against one schema version.
#[derive(Debug)]
pub struct Judged {
    /// The schema version it was judged against.
    pub version: u64,
    /// Its statements in order; empty for an empty text.
    pub statements: Vec<JudgedStatement>,
    /// Set when the text could not be read at all.
    pub unreadable: Option<NotRead>,
}

/// Why a text was not read.
#[derive(Debug)]
pub struct NotRead {
    /// The SQLSTATE the client sees.
    pub sqlstate: &'static str,
    /// The refusal.
    pub denial: Denial,
}

/// One statement of a text.
#[derive(Debug, Clone)]
pub struct JudgedStatement {
    /// Where it stands in the text, in bytes.
    pub span: std::ops::Range<usize>,
    /// Its class.
    pub class: Class,
    /// What becomes of it.
    pub decision: Decision,
}

impl JudgedStatement {
    /// What is sent in its place; `None` where it is sent as it came.
    fn other_text(&self) -> Option<&str> {
        match &self.decision {
            Decision::Allow(permit) => permit.text().map(AsRef::as_ref),
            Decision::Deny(_) => None,
        }
    }
}

impl Judged {
    /// What is sent for `text`, which these are the statements of, up to the byte `end`.
    pub fn outgoing<'t>(&self, text: &'t str, end: usize) -> Cow<'t, str> {
        let mut out = String::new();
        let mut done = 0;
        for statement in self.statements.iter().filter(|statement| statement.span.end <= end) {
            if let Some(other) = statement.other_text() {
                out.push_str(text.get(done..statement.span.start).unwrap_or_default());
                out.push_str(other);
                done = statement.span.end;
            }
        }
        let rest = text.get(done..end).unwrap_or_default();
        if done == 0 {
            Cow::Borrowed(rest)
        } else {
            out.push_str(rest);
            Cow::Owned(out)
        }
    }

    /// The permit of the first statement.
    pub fn first_permit(&self) -> Option<&Permit> {
        match self.statements.first().map(|statement| &statement.decision) {
            Some(Decision::Allow(permit)) => Some(permit),
            Some(Decision::Deny(_)) | None => None,
        }
    }

    /// Whether the same would be sent now as was sent when `before` was judged.
    pub fn says_the_same(&self, before: &Self) -> bool {
        let texts = |judged: &Self| -> Vec<Option<String>> {
            let other = judged.statements.iter().map(JudgedStatement::other_text);
            other.map(|text| text.map(str::to_owned)).collect()
        };
        self.unreadable.is_some() || texts(self) == texts(before)
    }
}

/// The text of a statement that is about to run.
#[derive(Debug, Clone, Copy)]
pub enum Text<'t> {
    /// The record does not have it.
    New(&'t str),
    /// It was recorded when it was parsed.
    Recorded(&'t str),
}

/// A prepared statement or portal.
#[derive(Debug)]
pub struct Prepared {
    /// Its SQL text, judged again when the schema moved.
    pub text: Rc<str>,
    /// Its number in the session's record.
    pub number: u64,
    /// The judgement at the time it was made.
    pub judged: Rc<Judged>,
    /// Binding it may run code that is not PostgreSQL's own: it has parameters of user-defined types, or calls functions
    /// beyond the safe ones.
    pub foreign: bool,
    /// The types that its parameters were declared to be of.
    pub declared: Box<[[u8; 4]]>,
    /// What the client was told of it.
    pub told: Told,
}

impl Prepared {
    /// Its permit; `None` for an empty text, which runs nothing.
    pub fn permit(&self) -> Option<&Permit> {
        self.judged.first_permit()
    }
}

/// Decisions by (scope, schema version), then by exact text or by the text's shape.
#[derive(Debug, Default)]
pub struct DecisionCache {
    books: HashMap<(Arc<str>, u64), Book>,
    entries: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Book {
    texts: HashMap<Box<str>, Rc<Judged>>,
    shapes: HashMap<Box<str>, Pattern>,
}

/// The decision on every text of one shape: one allowed statement.
#[derive(Debug)]
struct Pattern {
    class: Class,
    permit: Permit,
    /// Where the statement begins, and how much of the text follows it. No number stands in either.
    start: usize,
    tail: usize,
}

impl Pattern {
    fn judged(&self, text: &str, version: u64) -> Rc<Judged> {
        let statement = JudgedStatement {
            span: self.start..text.len().saturating_sub(self.tail),
            class: self.class,
            decision: Decision::Allow(self.permit.clone()),
        };
        Rc::new(Judged {
            version,
            statements: vec![statement],
            unreadable: None,
        })
    }
}

impl DecisionCache {
    /// Reads and judges a small `text`, or recalls the decision; `None` for one that must be read elsewhere.
    pub fn judge(&mut self, text: &str, scope: &Scope, snapshot: &Snapshot) -> Option<Rc<Judged>> {
        if text.len() > MAX_TEXT {
            return Some(Rc::new(Reading::small(text, scope, snapshot)?.judged));
        }
        let key = (scope.digest.clone(), snapshot.version);
        let book = self.books.get(&key);
        if let Some(judged) = book.and_then(|book| book.texts.get(text)) {
            return Some(judged.clone());
        }
        let shape = shape::of(text);
        let known = shape.as_ref().and_then(|shape| book?.shapes.get(shape.as_str()));
        if let Some(pattern) = known {
            return Some(pattern.judged(text, snapshot.version));
        }
        Some(self.keep(text, shape, scope, Reading::small(text, scope, snapshot)?))
    }

    /// Keeps what was read elsewhere, unless it is long or would not come out the same again.
    pub fn learn(&mut self, text: &str, scope: &Scope, reading: Reading) -> Rc<Judged> {
        if text.len() > MAX_TEXT || reading.is_passing {
            return Rc::new(reading.judged);
        }
        self.keep(text, shape::of(text), scope, reading)
    }

    fn keep(&mut self, text: &str, shape: Option<String>, scope: &Scope, reading: Reading) -> Rc<Judged> {
        let judged = Rc::new(reading.judged);
        if reading.is_passing {
            return judged;
        }
        if self.entries >= MAX_ENTRIES || self.bytes >= MAX_BYTES {
            *self = Self::default();
        }
        self.entries += 1;
        self.bytes += text.len();
        let key = (scope.digest.clone(), judged.version);
        let book = self.books.entry(key).or_default();
        match shape.zip(reading.plain.then(|| pattern(&judged, text)).flatten()) {
            Some((shape, pattern)) => {
                book.shapes.insert(shape.into(), pattern);
            }
            None => {
                book.texts.insert(text.into(), judged.clone());
            }
        }
        judged
    }
}

/// What texts of the same shape share; only an allowed statement that stands alone is shared.
fn pattern(judged: &Judged, text: &str) -> Option<Pattern> {
    let [
        JudgedStatement {
            span,
            class,
            decision: Decision::Allow(permit),
        },
    ] = judged.statements.as_slice()
    else {
        return None;
    };
    let digits = |part: Option<&str>| part.is_none_or(|part| part.bytes().any(|byte| byte.is_ascii_digit()));
    if digits(text.get(..span.start)) || digits(text.get(span.end..)) {
        return None;
    }
    Some(Pattern {
        class: *class,
        permit: permit.clone(),
        start: span.start,
        tail: text.len() - span.end,
    })
}

/// True when nothing that is judged of the statement can depend on the value of a number in it.
fn is_plain(statement: &Statement) -> bool {
    matches!(
        statement.class,
        Class::Select | Class::Insert | Class::Update | Class::Delete
    ) && statement.settings.is_empty()
        && statement.asks.is_empty()
        && statement.proposed.is_empty()
        && !statement.by_number
        && statement.opaque.is_empty()
        && statement.barrier == Barrier::None
        && statement.names == Names::None
}

/// A text that was just read and judged.
#[derive(Debug)]
pub struct Reading {
    judged: Judged,
    /// Every text of this shape is judged the same.
    plain: bool,
    /// It failed for a reason that may be gone the next time.
    is_passing: bool,
}

impl Reading {
    /// Reads and judges a small text here; `None` for one that must be read, or rewritten, elsewhere.
    fn small(text: &str, scope: &Scope, snapshot: &Snapshot) -> Option<Self> {
        let read = sql::read_small(text, snapshot)?;
        let grew = Cell::new(false);
        let splice = |text: &str, edits: &Edits| {
            if text.len() + edits.size(text) > MAX_REWRITTEN {
                grew.set(true);
                return Err(Unreadable::TooLarge.into());
            }
            splice(text, edits)
        };
        let ground = Ground {
            text,
            snapshot,
            splice: &splice,
        };
        let reading = Self::judge(&read, scope, &ground);
        (!grew.get()).then_some(reading)
    }

    /// Has a text read by another process, and judges it. Blocking.
    pub fn elsewhere(text: &str, scope: &Scope, snapshot: &Arc<Snapshot>, reader: &Reader) -> Self {
        let splice = |text: &str, edits: &Edits| reader.splice(text, edits);
        let ground = Ground {
            text,
            snapshot,
            splice: &splice,
        };
        Self::judge(&reader.read(text, snapshot), scope, &ground)
    }

    fn judge(read: &Result<Vec<Statement>, Unreadable>, scope: &Scope, ground: &Ground<'_>) -> Self {
        let version = ground.snapshot.version;
        let unreadable = match read {
            Ok(statements) => {
                let judged = Judged {
                    version,
                    statements: statements
                        .iter()
                        .map(|statement| JudgedStatement {
                            span: statement.span.clone(),
                            class: statement.class,
                            decision: judge::judge(statement, scope, ground),
                        })
                        .collect(),
                    unreadable: None,
                };
                return Self {
                    judged,
                    plain: statements.iter().all(is_plain) && scope.masks.is_empty(),
                    is_passing: false,
                };
            }
            Err(unreadable) => unreadable,
        };
        let sqlstate = match unreadable {
            Unreadable::Syntax { .. } => "42601",
            Unreadable::TooLarge | Unreadable::TooDeep | Unreadable::TooSlow => "54001",
            Unreadable::Busy => "53000",
            Unreadable::Nul | Unreadable::Crashed => "42501",
        };
        let denial = judge::denied_unreadable(unreadable, scope);
        Self {
            judged: Judged {
                version,
                statements: Vec::new(),
                unreadable: Some(NotRead { sqlstate, denial }),
            },
            plain: false,
            is_passing: unreadable.is_passing(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::pattern::Pattern as Glob;
    use crate::grant::testing;
    use crate::policy::{RelationPattern, Rule};
    use crate::sql::sample;

    /// Reads and writes of `public.*`, and nothing else.
    fn scope() -> Scope {
        let mut scope = Scope::clone(&testing::scope("read"));
        let tables = RelationPattern {
            origin: scope.origin.clone(),
            pattern: Glob::new("public.*", '.').unwrap(),
        };
        let rule = Rule {
            origin: scope.origin.clone(),
            classes: [Class::Select, Class::Update].into(),
            tables: vec![tables],
            columns: None,
            functions: Vec::new(),
            owner: None,
            objects: std::collections::BTreeSet::new(),
            settings: std::collections::BTreeMap::new(),
        };
        scope.can.push(rule.clone());
        scope.ceiling.push(rule);
        scope
    }

    fn shapes(cache: &DecisionCache) -> usize {
        cache.books.values().map(|book| book.shapes.len()).sum()
    }

    #[test]
    fn a_text_of_a_known_shape_gets_its_permit_and_its_own_span() {
        let (scope, mut snapshot) = (scope(), sample::fixture());
        sample::add_table(&mut snapshot, "public", "numbers", &["id"]);
        let mut cache = DecisionCache::default();
        cache.judge("  SELECT id FROM numbers WHERE id = 7;", &scope, &snapshot);
        let text = "  SELECT id FROM numbers WHERE id = 123456;";
        let recalled = cache.judge(text, &scope, &snapshot).unwrap();
        assert_eq!((cache.entries, shapes(&cache)), (1, 1));
        let fresh = Reading::small(text, &scope, &snapshot).unwrap().judged;
        assert_eq!(format!("{recalled:?}"), format!("{fresh:?}"));
        assert!(matches!(
            recalled.statements.as_slice(),
            [JudgedStatement {
                decision: Decision::Allow(_),
                ..
            }]
        ));
        // Another schema version judges anew.
        snapshot.version += 1;
        assert_eq!(cache.judge(text, &scope, &snapshot).unwrap().version, snapshot.version);
        assert_eq!(cache.entries, 2);
    }

    #[test]
    fn only_what_cannot_depend_on_a_number_is_shared() {
        let (scope, mut snapshot) = (scope(), sample::fixture());
        sample::add_table(&mut snapshot, "public", "numbers", &["id"]);
        let mut cache = DecisionCache::default();
        for text in [
            "DELETE FROM numbers WHERE id = 1",
            "SET statement_timeout = 5",
            "SET work_mem = 64",
            "SELECT id FROM numbers WHERE id = 1; SELECT id FROM numbers WHERE id = 2",
            "SELECT id FROM numbers WHERE id = 1 AND 'a' = 'b'",
            "SELECT id FROM audit.log LIMIT 1",
            "SELECT 1 FROM",
        ] {
            cache.judge(text, &scope, &snapshot);
        }
        assert_eq!(shapes(&cache), 0, "{cache:?}");
    }
}
