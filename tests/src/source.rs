//! The broker's own source text, read token by token: what the architecture and the generated documents are held to.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One source file, without the parts that only tests compile.
pub struct Source {
    /// Relative to the scanned folder: `policy/mod.rs`.
    pub path: String,
    /// The file as it stands.
    pub text: String,
    /// Its tokens; items under `#[cfg(test)]` are left out.
    pub tokens: Vec<TokenTree>,
    /// True when only tests compile the whole file.
    pub of_tests: bool,
}

impl Source {
    /// Reads `text` as the file `path`.
    pub fn read(path: &str, text: String) -> Self {
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        Self {
            path: path.to_owned(),
            tokens: without_tests(stream),
            text,
            of_tests: false,
        }
    }

    /// The module's path inside the crate: `policy/words.rs` is `["policy", "words"]`, `lib.rs` is empty.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        if path == "lib" || path == "main" {
            return Vec::new();
        }
        path.split('/').map(str::to_owned).collect()
    }
}

/// Every `.rs` file under `folder`, in the order of their paths.
pub fn files(folder: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(folder, &mut paths);
    paths.sort();
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let name = path
                .strip_prefix(folder)
                .expect("it lies in the folder")
                .display()
                .to_string();
            Source::read(&name, fs::read_to_string(path).expect("a source file"))
        })
        .collect();
    let tests: Vec<String> = sources.iter().flat_map(test_files).collect();
    for source in &mut sources {
        source.of_tests = tests
            .iter()
            .any(|test| source.path == format!("{test}.rs") || source.path.starts_with(&format!("{test}/")));
    }
    sources
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The files that `#[cfg(test)] mod name;` declares, without their extension.
fn test_files(source: &Source) -> Vec<String> {
    let stream: TokenStream = source.text.parse().expect("it was read before");
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut found = Vec::new();
    for (at, _) in tokens
        .iter()
        .enumerate()
        .filter(|(at, _)| is_test_attribute(&tokens[*at..]))
    {
        let rest: Vec<String> = tokens[at + 2..].iter().take(6).map(ToString::to_string).collect();
        let module = rest.iter().position(|word| word == "mod");
        if let Some(module) = module.filter(|module| rest.get(module + 2).is_some_and(|end| end == ";")) {
            let mut path = source.module();
            path.push(rest[module + 1].clone());
            found.push(elsewhere(source, &rest[..module]).unwrap_or_else(|| path.join("/")));
        }
    }
    found
}

/// The file that `#[path = "name.rs"]` names, beside its declaration.
fn elsewhere(source: &Source, attributes: &[String]) -> Option<String> {
    let attribute = attributes
        .iter()
        .find_map(|word| word.strip_prefix("[path = \"")?.strip_suffix(".rs\"]"))?;
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{folder}/{attribute}"))
}

/// The tokens of `stream` without the items under `#[cfg(test)]`, at every depth of modules.
fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = end_of_item(&tokens, at + 2);
            continue;
        }
        kept.push(match &tokens[at] {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inner: TokenStream = without_tests(group.stream()).into_iter().collect();
                let mut pruned = Group::new(Delimiter::Brace, inner);
                pruned.set_span(group.span());
                TokenTree::Group(pruned)
            }
            other => other.clone(),
        });
        at += 1;
    }
    kept
}

fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(group), ..] = tokens else {
        return false;
    };
    let inner: String = group.stream().to_string().split_whitespace().collect();
    hash.as_char() == '#' && group.delimiter() == Delimiter::Bracket && inner == "cfg(test)"
}

/// Just behind the item that starts at `at`: its `;` or its braces end it.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens[at..]
        .iter()
        .position(ends)
        .map_or(tokens.len(), |found| at + found + 1)
}
