//! What is wrong with a file, where, and what to do about it; for people, for programs and for pull requests.

use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin as SnippetOrigin, Renderer, Snippet};
use serde::Serialize;

use super::Origin;

/// The stable codes of diagnostics. They are part of the interface: scripts match on them.
pub mod code {
    /// Something that must hold at least one entry holds none.
    pub const EMPTY: &str = "empty";
    /// The same key, or the same repository, twice.
    pub const DUPLICATE_KEY: &str = "duplicate-key";
    /// A trigger through which strangers start runs on the default branch.
    pub const EVENT_NEVER_ACCEPTED: &str = "event-never-accepted";
    /// A `who` entry without its triggers.
    pub const EVENTS_REQUIRED: &str = "events-required";
    /// Something named that the operator's ceiling does not grant.
    pub const EXCEEDS_CEILING: &str = "exceeds-ceiling";
    /// A glob reaches further than the ceiling; the rest is subtracted (warning).
    pub const GLOB_SUBTRACTED: &str = "glob-subtracted";
    /// The right type, a value that has no meaning there.
    pub const INVALID_VALUE: &str = "invalid-value";
    /// A duration or count is above the ceiling's; the ceiling's is used (warning).
    pub const LIMIT_CLIPPED: &str = "limit-clipped";
    /// A secret written out where a reference belongs.
    pub const LITERAL_SECRET: &str = "literal-secret";
    /// A mask on a column that no rule of the scope reaches: a slip in the name, perhaps (warning).
    pub const MASK_WITHOUT_RULE: &str = "mask-without-rule";
    /// A pattern in the form of a regular expression.
    pub const LOOKS_LIKE_REGEX: &str = "looks-like-regex";
    /// A key that must be there is not.
    pub const MISSING_KEY: &str = "missing-key";
    /// A `who` entry that no token can match (warning).
    pub const NEVER_MATCHES: &str = "never-matches";
    /// A key this version reads but does not enforce.
    pub const NOT_YET_ENFORCED: &str = "not-yet-enforced";
    /// The file is larger, deeper or fuller than accepted.
    pub const TOO_LARGE: &str = "too-large";
    /// A database the operator did not define.
    pub const UNKNOWN_DATABASE: &str = "unknown-database";
    /// An issuer the operator did not define.
    pub const UNKNOWN_ISSUER_IN_POLICY: &str = "unknown-issuer-in-policy";
    /// A preset, or a version of one, that is not published.
    pub const UNKNOWN_PRESET: &str = "unknown-preset";
    /// A key the format does not have.
    pub const UNKNOWN_KEY: &str = "unknown-key";
    /// A word under `statements:` that is neither a class nor a group.
    pub const UNKNOWN_STATEMENT_CLASS: &str = "unknown-statement-class";
    /// A `who` entry that any branch, tag or job of the issuer would match.
    pub const WHO_TOO_WIDE: &str = "who-too-wide";
    /// A number where text belongs, a text where a list belongs …
    pub const WRONG_TYPE: &str = "wrong-type";
    /// Not YAML, or YAML of a kind that is not accepted.
    pub const YAML_SYNTAX: &str = "yaml-syntax";

    /// Every code, sorted.
    pub const ALL: &[&str] = &[
        DUPLICATE_KEY,
        EMPTY,
        EVENT_NEVER_ACCEPTED,
        EVENTS_REQUIRED,
        EXCEEDS_CEILING,
        GLOB_SUBTRACTED,
        INVALID_VALUE,
        LIMIT_CLIPPED,
        LITERAL_SECRET,
        LOOKS_LIKE_REGEX,
        MASK_WITHOUT_RULE,
        MISSING_KEY,
        NEVER_MATCHES,
        NOT_YET_ENFORCED,
        TOO_LARGE,
        UNKNOWN_DATABASE,
        UNKNOWN_ISSUER_IN_POLICY,
        UNKNOWN_KEY,
        UNKNOWN_PRESET,
        UNKNOWN_STATEMENT_CLASS,
        WHO_TOO_WIDE,
        WRONG_TYPE,
        YAML_SYNTAX,
    ];
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The beginning of a file.
    pub const START: Self = Self {
        line: 1,
        column: 1,
        start: 0,
        end: 0,
    };

    /// The place as a rule remembers it.
    pub fn origin(self, path: &Arc<str>) -> Origin {
        Origin {
            path: Arc::clone(path),
            line: self.line,
            column: self.column,
            preset: None,
        }
    }
}

/// Whether the file, or the scope it stands in, can be used in spite of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but something is narrower than written.
    Warning,
}

/// One finding in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// One of [`code::ALL`].
    pub code: &'static str,
    /// Whether it stops anything.
    pub severity: Severity,
    /// What is wrong: one lower-case sentence, user text in backticks.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The file as its author knows it.
    pub path: Arc<str>,
    /// Where in it.
    #[serde(flatten)]
    pub span: Span,
}

/// Collects what is found while one file is read.
#[derive(Debug)]
pub struct Report {
    path: Arc<str>,
    found: Vec<Diagnostic>,
}

impl Report {
    /// Nothing found yet in the file at `path`.
    pub fn new(path: &Arc<str>) -> Self {
        Self {
            path: Arc::clone(path),
            found: Vec::new(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// Adds an error. `help` may be empty.
    pub fn error(&mut self, code: &'static str, span: Span, message: impl AsRef<str>, help: impl AsRef<str>) {
        self.push(code, Severity::Error, span, message.as_ref(), help.as_ref());
    }

    /// Adds a warning. `help` may be empty.
    pub fn warn(&mut self, code: &'static str, span: Span, message: impl AsRef<str>, help: impl AsRef<str>) {
        self.push(code, Severity::Warning, span, message.as_ref(), help.as_ref());
    }

    /// Adds a finding of another report.
    pub fn adopt(&mut self, found: Diagnostic) {
        self.found.push(found);
    }

    /// True once an error was added.
    pub fn failed(&self) -> bool {
        failed(&self.found)
    }

    /// What was found, in the order of the file.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|found| (found.span.line, found.span.column));
        self.found
    }

    fn push(&mut self, code: &'static str, severity: Severity, span: Span, message: &str, help: &str) {
        self.found.push(Diagnostic {
            code,
            severity,
            message: printable(message),
            help: (!help.is_empty()).then(|| printable(help)),
            path: Arc::clone(&self.path),
            span,
        });
    }
}

/// True when one of them is an error.
pub fn failed(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|found| found.severity == Severity::Error)
}

impl Diagnostic {
    /// The place as a rule remembers it.
    pub fn origin(&self) -> Origin {
        self.span.origin(&self.path)
    }

    /// The whole finding on one line: `.hoop/db-access.yaml:7:5: error[unknown-key]: …`.
    pub fn line(&self) -> String {
        let Self { code, message, .. } = self;
        let word = self.word();
        let (path, line, column) = (&self.path, self.span.line, self.span.column);
        match &self.help {
            Some(help) => format!("{path}:{line}:{column}: {word}[{code}]: {message} ({help})"),
            None => format!("{path}:{line}:{column}: {word}[{code}]: {message}"),
        }
    }

    fn word(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// For people: the finding above the lines it is about. `source` is the file's text; a line that may hold a secret
/// is not shown.
pub fn text(diagnostics: &[Diagnostic], source: &str) -> String {
    let renderer = Renderer::plain();
    let mut out = String::new();
    for found in diagnostics {
        if !out.is_empty() {
            out.push_str("\n\n");
        }
        out.push_str(&renderer.render(&groups(found, source)));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// For programs: a JSON array.
pub fn json(diagnostics: &[Diagnostic]) -> String {
    serde_json::to_string_pretty(diagnostics).unwrap_or_else(|_| "[]".to_owned())
}

/// For pull requests: one GitHub workflow command per finding. `file` is the path inside the repository.
pub fn annotations(diagnostics: &[Diagnostic], file: &str) -> String {
    let mut out = String::new();
    for found in diagnostics {
        let body = match &found.help {
            Some(help) => format!("{}\nhelp: {help}", found.message),
            None => found.message.clone(),
        };
        let (line, column) = (found.span.line, found.span.column);
        out.push_str(&annotation(found.word(), file, line, column, found.code, &body));
        out.push('\n');
    }
    out
}

/// One GitHub workflow command: `::error file=…,line=…,col=…,title=…::…`. Line and column are 1-based.
pub fn annotation(word: &str, file: &str, line: u32, column: u32, title: &str, body: &str) -> String {
    let (file, title, body) = (escape_property(file), escape_property(title), escape_data(body));
    format!("::{word} file={file},line={line},col={column},title={title}::{body}")
}

fn groups<'a>(found: &'a Diagnostic, source: &'a str) -> Vec<Group<'a>> {
    let level = match found.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(found.message.as_str()).id(found.code);
    let end = found.span.end.min(source.len()).max(found.span.start);
    let in_source = source.get(found.span.start..end).is_some();
    let main = if in_source && !may_hold_secret(found, source) {
        // Only the first line of a longer value is marked.
        let marked = source.get(found.span.start..end).unwrap_or_default();
        let width = marked.find('\n').unwrap_or(marked.len());
        title.element(
            Snippet::source(source)
                .path(found.path.as_ref())
                .annotation(AnnotationKind::Primary.span(found.span.start..found.span.start + width)),
        )
    } else {
        title.element(
            SnippetOrigin::path(found.path.as_ref())
                .line(usize::try_from(found.span.line).unwrap_or(0))
                .char_column(usize::try_from(found.span.column).unwrap_or(0)),
        )
    };
    let main = match &found.help {
        Some(help) => main.element(Level::HELP.message(help.as_str())),
        None => main,
    };
    vec![main]
}

/// Only the operator's file names secrets, and there a slip puts one on any line that speaks of them. A repository's
/// file has no key for one.
fn may_hold_secret(found: &Diagnostic, source: &str) -> bool {
    if found.code == code::LITERAL_SECRET {
        return true;
    }
    if found.path.as_ref() == super::AUTHOR_PATH {
        return false;
    }
    let before = source.get(..found.span.start).unwrap_or_default();
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let line = source
        .get(begin..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default();
    let line = line.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token", "key", "credential", "login"]
        .iter()
        .any(|word| line.contains(word))
}

/// Control characters of a file or a claim must not reach a terminal or a log line.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control()
            || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out
}

fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(message: &str, help: &str) -> Vec<Diagnostic> {
        let mut report = Report::new(&Arc::from(".hoop/db-access.yaml"));
        let span = Span {
            line: 2,
            column: 1,
            start: 11,
            end: 16,
        };
        report.error(code::UNKNOWN_KEY, span, message, help);
        report.finish()
    }

    #[test]
    fn text_shows_the_line_and_the_help() {
        let shown = text(
            &one("unknown key `scope`", "did you mean `scopes`?"),
            "version: 1\nscope: {}\n",
        );
        assert!(
            shown.starts_with("error[unknown-key]: unknown key `scope`\n"),
            "{shown}"
        );
        assert!(shown.contains("--> .hoop/db-access.yaml:2:1"), "{shown}");
        assert!(shown.contains("2 | scope: {}"), "{shown}");
        assert!(shown.contains("help: did you mean `scopes`?"), "{shown}");
    }

    #[test]
    fn annotations_escape_what_would_end_the_command() {
        let shown = annotations(&one("100%", "a\nb"), "a,b:c.yaml");
        // The newline of the help was made printable before; the one between message and help is ours.
        assert_eq!(
            shown,
            "::error file=a%2Cb%3Ac.yaml,line=2,col=1,title=unknown-key::100%25%0Ahelp: a\\u{a}b\n"
        );
    }

    #[test]
    fn json_carries_every_field() {
        let value: serde_json::Value = serde_json::from_str(&json(&one("m", ""))).unwrap();
        assert_eq!(
            value,
            serde_json::json!([{"code": "unknown-key", "severity": "error", "message": "m",
                "path": ".hoop/db-access.yaml", "line": 2, "column": 1, "start": 11, "end": 16}])
        );
    }

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(one("a\u{1b}[31m", "").first().unwrap().message, "a\\u{1b}[31m");
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        let source = "x: 1\nlogin: { pasword: hunter2 }\n";
        let mut report = Report::new(&Arc::from("broker.yaml"));
        let span = Span {
            line: 2,
            column: 10,
            start: 14,
            end: 21,
        };
        report.error(code::UNKNOWN_KEY, span, "unknown key `pasword`", "");
        let shown = text(&report.finish(), source);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("broker.yaml:2:10"), "{shown}");
    }

    #[test]
    fn a_place_outside_of_the_text_is_named_without_it() {
        let shown = text(&one("m", ""), "x");
        assert!(shown.contains(".hoop/db-access.yaml:2:1"), "{shown}");
    }

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(code::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
