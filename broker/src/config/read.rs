//! YAML in, values with places out. The only file of this folder that calls the YAML reader.

use serde::de::DeserializeOwned;

use super::Mistake;

/// Reads the whole file strictly: no unknown keys, anchors, aliases, merge keys, duplicate keys or `yes`/`no`.
pub fn read<T: DeserializeOwned>(text: &str, path: &str) -> Result<T, Mistake> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! { max_aliases: 0, max_anchors: 0, max_merge_keys: 0, max_documents: 1 },
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::Error,
        merge_keys: serde_yaml::options::MergeKeyPolicy::Error,
        strict_booleans: true,
        // A snippet would print the neighbouring lines, and one of them may hold a literal secret.
        with_snippet: false,
    };
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        Mistake {
            path: path.to_owned(),
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
            code: "config-invalid",
            message: one_line(&error.without_snippet().to_string()),
            fix: String::new(),
        }
    })
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
