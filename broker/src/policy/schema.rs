//! The JSON schema of the repository's file, for editors. Built from the reader's own key and class lists, so the two
//! cannot drift; keys that are not enforced yet are not in it, and an editor marks them as the loader would.

use serde_json::{Map, Value, json};

use super::masks;
use super::presets;
use super::repository::{LIMIT_KEYS, MOST_CONNECTIONS, MOST_ROWS, SCOPE_KEYS, WHO_KEYS};
use super::rules;
use super::words::{GITHUB_EVENTS, GITLAB_SOURCES, GROUPS};
use crate::detect;
use crate::mask::{Bucket, Unit};
use crate::sql::{Class, Kind};

/// The schema of version 1.
pub fn repository() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://github.com/hoop/db-access/policies/schema/db-access.v1.json",
        "title": ".hoop/db-access.yaml",
        "description": "What this repository's jobs may do with its databases.",
        "type": "object",
        "required": ["version", "scopes"],
        "additionalProperties": false,
        "properties": {
            "version": {"const": 1},
            "scopes": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": "^[A-Za-z0-9._-]{1,64}$"},
                "additionalProperties": {"$ref": "#/$defs/scope"},
            },
        },
        "$defs": {
            "scope": object(SCOPE_KEYS, &["database", "who", "can"], scope_key),
            "who": object(WHO_KEYS, &["issuer"], who_key),
            "rule": object(rules::KEYS, &[], rule_key),
            "mask": {"anyOf": [{"enum": masks::WORDS}, one_of(masks::KEYS, mask_key)]},
            "limits": object(LIMIT_KEYS, &[], limit_key),
            "text": {"type": "string", "minLength": 1},
            "glob": {"type": "string", "pattern": "^[^|()^\\\\\\[\\]{}+?$]+$"},
            "relation": {"type": "string", "pattern": "^([^.\\s]+\\.[^.\\s]+|\\*\\*)$"},
            "duration": {"type": "string", "pattern": "^([0-9.]+ ?[a-z]+ ?)+$", "examples": ["15m", "1h30m"]},
        },
    })
}

/// The schema as its file holds it.
pub fn file() -> String {
    serde_json::to_string_pretty(&sorted(repository())).unwrap_or_default() + "\n"
}

fn object(keys: &[&str], required: &[&str], describe: fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), describe(key))).collect();
    let mut object = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if let (Some(object), false) = (object.as_object_mut(), required.is_empty()) {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

/// An object with exactly one of the keys.
fn one_of(keys: &[&str], describe: fn(&str) -> Value) -> Value {
    let mut object = object(keys, &[], describe);
    if let Some(object) = object.as_object_mut() {
        object.insert("minProperties".to_owned(), json!(1));
        object.insert("maxProperties".to_owned(), json!(1));
    }
    object
}

fn scope_key(key: &str) -> Value {
    match key {
        "description" => described("What the scope is for.", json!({"$ref": "#/$defs/text"})),
        "database" => described("The operator's name of a database.", json!({"$ref": "#/$defs/text"})),
        "who" => described(
            "Alternatives: one entry must match in every key.",
            list(&json!({"$ref": "#/$defs/who"})),
        ),
        "can" => described(
            "Whatever is not covered is denied.",
            list(&json!({"$ref": "#/$defs/rule"})),
        ),
        "mask" => described(
            "Columns whose values are replaced, by schema.table.column.",
            json!({
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": "^([^.*\\s\"'`]+\\.){2}[^.*\\s\"'`]+$"},
                "additionalProperties": {"$ref": "#/$defs/mask"},
            }),
        ),
        "detect" => described(
            "What is looked for in the texts of results.",
            list(&json!({"enum": detect::Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>()})),
        ),
        _ => json!({"$ref": "#/$defs/limits"}),
    }
}

fn mask_key(key: &str) -> Value {
    match key {
        "fixed" => described(
            "This value, of the column's type.",
            json!({"type": ["string", "number", "boolean"]}),
        ),
        "partial" => described("What stays.", object(masks::PARTIAL_KEYS, &[], partial_key)),
        "bucket" => described(
            "The beginning of the range that the value lies in.",
            json!({"anyOf": [
                {"type": "integer", "minimum": 2, "maximum": Bucket::WIDEST},
                {"enum": Unit::ALL.iter().map(|unit| unit.as_str()).collect::<Vec<_>>()},
            ]}),
        ),
        "json" => described(
            "Parts of a JSON value: address.street, items[].ssn.",
            json!({
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"$ref": "#/$defs/mask"},
            }),
        ),
        "hash" => described("A token per value.", json!({"const": "hmac"})),
        "email" => described("An address per value.", json!({"const": "stable"})),
        "fake-name" => described("A name per value.", json!({"const": "stable"})),
        _ => described(
            "Another day, at most so far away.",
            json!({"type": "string", "pattern": "^[1-9][0-9]{0,3}d$"}),
        ),
    }
}

fn partial_key(key: &str) -> Value {
    match key {
        "with" => described(
            "What stands for the rest.",
            json!({"type": "string", "minLength": 1, "maxLength": 1}),
        ),
        _ => json!({"type": "integer", "minimum": 1, "maximum": masks::MOST_KEPT}),
    }
}

fn who_key(key: &str) -> Value {
    match key {
        "issuer" => described("The operator's name of an issuer.", json!({"$ref": "#/$defs/text"})),
        "environment" => described("The deployment environment.", json!({"$ref": "#/$defs/text"})),
        "events" => described(
            "GitHub's triggers.",
            list(&json!({"type": "string", "examples": GITHUB_EVENTS})),
        ),
        "sources" => described("GitLab's triggers.", list(&json!({"enum": GITLAB_SOURCES}))),
        "claims" => json!({
            "description": "Other claims, compared as text.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"$ref": "#/$defs/glob"},
        }),
        _ => json!({"$ref": "#/$defs/glob"}),
    }
}

fn rule_key(key: &str) -> Value {
    match key {
        "statements" => {
            let groups = GROUPS.iter().map(|(name, _)| *name);
            let words: Vec<&str> = groups.chain(Class::ALL.iter().map(|class| class.as_str())).collect();
            described("Statement classes and groups.", list(&json!({"enum": words})))
        }
        "columns" => described(
            "Only these columns of the tables.",
            list(&json!({"$ref": "#/$defs/text"})),
        ),
        "objects" => {
            let words: Vec<&str> = Kind::NAMED.iter().map(|kind| kind.as_str()).collect();
            described(
                "Kinds besides relations that the globs under tables cover.",
                list(&json!({"enum": words})),
            )
        }
        "preset" => described(
            "A published rule set, with nothing beside it.",
            json!({"type": "string", "pattern": "^[a-z-]+/[a-z-]+(@[0-9]+)?$", "examples": presets::names()}),
        ),
        "tables" => described("Globs over schema.name.", list(&json!({"$ref": "#/$defs/relation"}))),
        "as" => described(
            "The owner that DDL runs as, around exactly one statement.",
            json!({"type": "string", "minLength": 1, "maxLength": 63}),
        ),
        _ => described(
            "Functions beyond the safe set.",
            list(&json!({"$ref": "#/$defs/relation"})),
        ),
    }
}

fn limit_key(key: &str) -> Value {
    match key {
        "max-connections" => json!({"type": "integer", "minimum": 1, "maximum": MOST_CONNECTIONS}),
        "max-rows" => described("Rows of one result.", rows()),
        "max-affected-rows" => described("Rows one statement may insert, update and delete.", rows()),
        "max-bytes" => described(
            "Bytes of one result.",
            json!({"anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": "^[0-9]+ ?(kB|MB|GB|KiB|MiB|GiB)$"},
            ]}),
        ),
        "read-only" => described("Nothing may be written.", json!({"type": "boolean"})),
        "no-where" => described(
            "UPDATE and DELETE that no WHERE bounds are denied.",
            json!({"const": "deny"}),
        ),
        _ => json!({"$ref": "#/$defs/duration"}),
    }
}

fn rows() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": MOST_ROWS})
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "minItems": 1, "items": items})
}

fn described(text: &str, mut schema: Value) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), json!(text));
    }
    schema
}

/// Keys in order, whether or not the JSON library of this build keeps the order of insertion.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}
