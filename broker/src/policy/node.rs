//! A YAML document as values with spans, and the way to take a mapping apart so that *every* finding is reported at
//! its own line: unknown keys with the nearest known one, keys not enforced yet, wrong types.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::diagnostic::{Report, Span, code};
use super::nearest::did_you_mean;
use super::source::{self, Spanned};

/// One value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true`, `false`.
    Flag(bool),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file. Keys are unique.
    Map(Vec<(Key, Node)>),
    /// Nothing: `key:` alone, or `null`.
    Nothing,
    /// A whole number.
    Number(i64),
    /// Any other number.
    Real(f64),
    /// Text.
    Text(String),
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub span: Span,
    /// The key.
    pub text: String,
}

/// A text and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'n> {
    /// Where it stands.
    pub span: Span,
    /// The text, never empty.
    pub text: &'n str,
}

/// A mapping whose keys were checked against the known ones.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'n> {
    span: Span,
    entries: &'n [(Key, Node)],
}

// === impl Node ===

impl Node {
    /// Takes a mapping apart. `what` names it in messages, `known` are the keys it may have, and `unbuilt` those whose
    /// enforcement does not exist yet: each of these is an error, because a rule that is read but not applied is a leak.
    pub fn fields<'n>(
        &'n self,
        what: &str,
        known: &[&str],
        unbuilt: &[&str],
        report: &mut Report,
    ) -> Option<Fields<'n>> {
        let entries = self.map(what, report)?;
        for (key, _) in entries {
            let text = key.text.as_str();
            if unbuilt.contains(&text) {
                not_yet_enforced(text, key.span, report);
            } else if !known.contains(&text) {
                let all = known.iter().chain(unbuilt).copied();
                let help = did_you_mean(text, all, &format!("known keys: {}", known.join(", ")));
                report.error(
                    code::UNKNOWN_KEY,
                    key.span,
                    format!("unknown key `{text}` in {what}"),
                    help,
                );
            }
        }
        Some(Fields {
            span: self.span,
            entries,
        })
    }

    /// A mapping with keys of the author's choosing.
    pub fn map<'n>(&'n self, what: &str, report: &mut Report) -> Option<&'n [(Key, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => self.wrong(what, "a mapping", "", report),
        }
    }

    /// A list.
    pub fn list<'n>(&'n self, what: &str, report: &mut Report) -> Option<&'n [Node]> {
        match &self.value {
            Value::List(nodes) => Some(nodes),
            Value::Text(_) => self.wrong(what, "a list", "put it in brackets: [ … ]", report),
            _ => self.wrong(what, "a list", "", report),
        }
    }

    /// A text that is not empty.
    pub fn word<'n>(&'n self, what: &str, report: &mut Report) -> Option<Word<'n>> {
        match &self.value {
            Value::Text(text) if text.is_empty() => {
                report.error(code::EMPTY, self.span, format!("{what} is empty"), "");
                None
            }
            Value::Text(text) => Some(Word { span: self.span, text }),
            Value::Flag(_) | Value::Number(_) | Value::Real(_) => self.wrong(what, "text", "put it in quotes", report),
            _ => self.wrong(what, "text", "", report),
        }
    }

    /// A list of texts, none of them empty, at least one.
    pub fn words<'n>(&'n self, what: &str, report: &mut Report) -> Option<Vec<Word<'n>>> {
        let nodes = self.list(what, report)?;
        if nodes.is_empty() {
            report.error(code::EMPTY, self.span, format!("{what} is empty"), "");
            return None;
        }
        let words: Vec<_> = nodes.iter().filter_map(|node| node.word(what, report)).collect();
        (words.len() == nodes.len()).then_some(words)
    }

    /// `true` or `false`.
    pub fn flag(&self, what: &str, report: &mut Report) -> Option<bool> {
        match self.value {
            Value::Flag(flag) => Some(flag),
            _ => self.wrong(what, "`true` or `false`", "", report),
        }
    }

    /// A whole number from 1 to `most`.
    pub fn count(&self, what: &str, most: u64, report: &mut Report) -> Option<u64> {
        let Value::Number(number) = self.value else {
            return self.wrong(what, "a whole number", "", report);
        };
        match u64::try_from(number) {
            Ok(count) if (1..=most).contains(&count) => Some(count),
            _ => {
                let message = format!("{what} must be from 1 to {most}");
                report.error(code::INVALID_VALUE, self.span, message, "");
                None
            }
        }
    }

    /// Reports a wrong type. The value itself is not repeated: it may be a secret that slipped into the wrong place.
    fn wrong<T>(&self, what: &str, expected: &str, help: &str, report: &mut Report) -> Option<T> {
        let found = match &self.value {
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Nothing => "nothing",
            Value::Number(_) | Value::Real(_) => "a number",
            Value::Text(_) => "text",
        };
        let message = format!("{what} must be {expected}, found {found}");
        report.error(code::WRONG_TYPE, self.span, message, help);
        None
    }
}

/// Reports a key whose enforcement is not built.
pub fn not_yet_enforced(what: &str, span: Span, report: &mut Report) {
    report.error(
        code::NOT_YET_ENFORCED,
        span,
        format!("`{what}` is not enforced by this version"),
        "remove it: a rule that is read but not applied would be a leak",
    );
}

// === impl Fields ===

impl<'n> Fields<'n> {
    /// The value of `key`, when it is there.
    pub fn value(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The value of `key`; its absence is reported.
    pub fn required(&self, key: &str, what: &str, report: &mut Report) -> Option<&'n Node> {
        let found = self.value(key);
        if found.is_none() {
            report.error(
                code::MISSING_KEY,
                self.span,
                format!("{what} needs the key `{key}`"),
                "",
            );
        }
        found
    }

    /// Where the mapping begins.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Where `key` stands, or where the mapping begins.
    pub fn key_span(&self, key: &str) -> Span {
        self.entry(key).map_or(self.span, |(key, _)| key.span)
    }

    fn entry(&self, key: &str) -> Option<&'n (Key, Node)> {
        self.entries.iter().find(|(candidate, _)| candidate.text == key)
    }
}

// === reading ===

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            span: source::span(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        // Larger than any count the format knows; the range check that follows refuses it.
        Ok(Value::Number(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key {
                span: source::span(key.referenced),
                text: key.value,
            };
            entries.push((key, map.next_value()?));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn read(text: &str) -> Node {
        source::read(text, "f").unwrap()
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let node = read("# c\na: 1\nmap:\n  - { x: \"t\", y: [true, 1.5, ~] }\n");
        let mut report = Report::new(&Arc::from("f"));
        let fields = node.fields("it", &["a", "map"], &[], &mut report).unwrap();
        assert_eq!(fields.key_span("map").line, 3);
        let list = fields.value("map").unwrap().list("map", &mut report).unwrap();
        let inner = list[0].fields("item", &["x", "y"], &[], &mut report).unwrap();
        assert_eq!((inner.key_span("y").line, inner.key_span("y").column), (4, 15));
        let Value::List(values) = &inner.value("y").unwrap().value else {
            panic!()
        };
        let kinds: Vec<_> = values.iter().map(|node| node.value.clone()).collect();
        assert_eq!(kinds, [Value::Flag(true), Value::Real(1.5), Value::Nothing]);
        assert!(report.finish().is_empty());
    }

    #[test]
    fn every_unknown_key_is_reported_at_its_line() {
        let node = read("tabels: 1\nmask: 2\nzzz: 3\n");
        let mut report = Report::new(&Arc::from("f"));
        node.fields("it", &["tables"], &["mask"], &mut report);
        let found = report.finish();
        let short: Vec<_> = found.iter().map(|found| (found.code, found.span.line)).collect();
        assert_eq!(
            short,
            [
                (code::UNKNOWN_KEY, 1),
                (code::NOT_YET_ENFORCED, 2),
                (code::UNKNOWN_KEY, 3)
            ]
        );
        assert_eq!(found[0].help.as_deref(), Some("did you mean `tables`?"));
        assert_eq!(found[2].help.as_deref(), Some("known keys: tables"));
    }

    #[test]
    fn yes_and_no_are_not_booleans_and_numbers_are_not_text() {
        let node = read("a: yes\nb: 1.10\nc: ''\nd: 18446744073709551615\n");
        let mut report = Report::new(&Arc::from("f"));
        let fields = node.fields("it", &["a", "b", "c", "d"], &[], &mut report).unwrap();
        assert_eq!(fields.value("a").unwrap().flag("a", &mut report), None);
        assert_eq!(fields.value("b").unwrap().word("b", &mut report), None);
        assert_eq!(fields.value("c").unwrap().word("c", &mut report), None);
        assert_eq!(fields.value("d").unwrap().count("d", 1000, &mut report), None);
        let found = report.finish();
        let codes: Vec<_> = found.iter().map(|found| found.code).collect();
        assert_eq!(
            codes,
            [code::WRONG_TYPE, code::WRONG_TYPE, code::EMPTY, code::INVALID_VALUE]
        );
    }
}
