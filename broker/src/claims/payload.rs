//! Typed reading of a token's payload: a claim of the wrong JSON type is an error, never an absent claim.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longer texts than this are no name of anything a CI has.
const MAX_TEXT: usize = 1024;

/// Why a payload does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    /// The claim is absent, null or empty.
    #[error("the claim `{claim}` is missing")]
    Missing {
        /// Its name.
        claim: String,
    },
    /// The claim is there, but not as what it must be.
    #[error("the claim `{claim}` is {found}")]
    WrongType {
        /// Its name.
        claim: String,
        /// What it is instead.
        found: &'static str,
    },
    /// The job runs in one project with the code of another.
    #[error("the job runs in project {job_project} with the code of project {project}")]
    Fork {
        /// The project whose code runs.
        project: String,
        /// The project the job runs in.
        job_project: String,
    },
}

/// The claims of a token as the issuer wrote them.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a>(&'a Map<String, Value>);

impl<'a> Payload<'a> {
    /// Reads from `map`.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self(map)
    }

    /// Every claim, as it stands in the token.
    pub fn to_map(self) -> Map<String, Value> {
        self.0.clone()
    }

    /// The claim `name` as text: numbers and booleans compare as their text, null and the empty string as absent.
    pub fn text(self, name: &str) -> Result<Option<String>, ClaimFault> {
        scalar(name, self.0.get(name))
    }

    /// The claim `name`, which this issuer always sends.
    pub fn need(self, name: &str) -> Result<String, ClaimFault> {
        self.text(name)?
            .ok_or_else(|| ClaimFault::Missing { claim: name.to_owned() })
    }

    /// The claim at `path` as text.
    pub fn text_at(self, path: &ClaimPath) -> Result<Option<String>, ClaimFault> {
        scalar(&path.0, self.at(path))
    }

    /// The claim at `path`, which must be there.
    pub fn need_at(self, path: &ClaimPath) -> Result<String, ClaimFault> {
        self.text_at(path)?
            .ok_or_else(|| ClaimFault::Missing { claim: path.0.clone() })
    }

    /// The claim at `path` as a list of texts: one for a scalar, each element's for an array, none when absent.
    pub fn texts_at(self, path: &ClaimPath) -> Result<Vec<String>, ClaimFault> {
        match self.at(path) {
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(|item| scalar(&path.0, Some(item)).transpose())
                .collect(),
            other => Ok(scalar(&path.0, other)?.into_iter().collect()),
        }
    }

    fn at(self, path: &ClaimPath) -> Option<&'a Value> {
        let Some(pointer) = path.0.strip_prefix('/') else {
            return self.0.get(&path.0);
        };
        let mut steps = pointer
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"));
        let mut value = self.0.get(&steps.next()?)?;
        for step in steps {
            value = value.as_object()?.get(&step)?;
        }
        Some(value)
    }
}

/// Where a claim stands: a name taken literally (`oidc.example.com/project-id` is one name, dots and slashes included),
/// or, when it starts with `/`, a JSON pointer into nested objects (`/kubernetes.io/namespace`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimPath(String);

impl ClaimPath {
    /// The path `text` names.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn scalar(name: &str, value: Option<&Value>) -> Result<Option<String>, ClaimFault> {
    let wrong = |found| {
        Err(ClaimFault::WrongType {
            claim: name.to_owned(),
            found,
        })
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text.len() > MAX_TEXT => wrong("longer than 1024 bytes"),
        Some(Value::String(text)) if text.chars().any(char::is_control) => wrong("a text with control characters"),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
        Some(Value::Number(_)) => wrong("a fraction, not a whole number"),
        Some(Value::Bool(value)) => Ok(Some(value.to_string())),
        Some(Value::Array(_)) => wrong("an array, not a text"),
        Some(Value::Object(_)) => wrong("an object, not a text"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Option<String>, ClaimFault> {
        let map = json!({ "c": value }).as_object().unwrap().clone();
        Payload::new(&map).text("c")
    }

    #[test]
    fn scalars_compare_as_text_and_nothing_is_never_an_empty_text() {
        assert_eq!(read(&json!(12)).unwrap().as_deref(), Some("12"));
        assert_eq!(read(&json!(true)).unwrap().as_deref(), Some("true"));
        assert_eq!(read(&json!("x")).unwrap().as_deref(), Some("x"));
        assert_eq!(read(&json!("")).unwrap(), None);
        assert_eq!(read(&Value::Null).unwrap(), None);
    }

    #[test]
    fn a_wrong_type_is_an_error_not_an_absence() {
        for value in [
            json!([]),
            json!(["x"]),
            json!({}),
            json!(1.5),
            json!("a\nb"),
            json!("x".repeat(1025)),
        ] {
            assert!(matches!(read(&value), Err(ClaimFault::WrongType { .. })), "{value}");
        }
    }

    #[test]
    fn names_with_dots_and_slashes_are_names_and_pointers_reach_inside() {
        let map = json!({
            "oidc.example.com/project-id": "p", "kubernetes.io": { "namespace": "n", "a/b": "s" }, "groups": ["x", 7, ""]
        });
        let map = map.as_object().unwrap().clone();
        let payload = Payload::new(&map);
        let at = |path: &str| payload.text_at(&ClaimPath::new(path)).unwrap();
        assert_eq!(at("oidc.example.com/project-id").as_deref(), Some("p"));
        assert_eq!(at("/kubernetes.io/namespace").as_deref(), Some("n"));
        assert_eq!(at("/kubernetes.io/a~1b").as_deref(), Some("s"));
        assert_eq!(at("kubernetes.io/namespace"), None);
        assert_eq!(at("/kubernetes.io/namespace/x"), None);
        assert_eq!(payload.texts_at(&ClaimPath::new("groups")).unwrap(), ["x", "7"]);
    }
}
