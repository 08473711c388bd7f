//! The house's floors: a module imports only from below, every file says what it is, and none grows without end.

use std::collections::BTreeSet;
use std::path::PathBuf;

use proc_macro2::TokenTree;
use tests::house::root;
use tests::source::{Source, files};

/// The modules of `broker/src`, floor by floor. Where a floor is ordered, a later module may import an earlier one.
const FLOORS: &[(&str, bool, &[&str])] = &[
    ("words", false, &["base"]),
    (
        "facts",
        true,
        &[
            "wire", "scram", "mask", "detect", "sql", "policy", "claims", "token", "ledger",
        ],
    ),
    ("judgement", false, &["decide"]),
    (
        "edges",
        true,
        &[
            "issuer", "reader", "record", "secrets", "store", "upstream", "catalog", "role", "survey",
        ],
    ),
    ("lives", true, &["grant", "session", "sweep"]),
    ("doors", false, &["http", "proxy", "console"]),
    ("house", false, &["config", "telemetry", "cli", "demo", "server"]),
];
/// The top floor puts everything together: its modules know each other.
const TOP: usize = 6;
/// A longer file is two files.
const MAX_LINES: usize = 600;

/// Where `module` stands: its floor and its place on it.
fn place(module: &str) -> Option<(usize, usize)> {
    FLOORS
        .iter()
        .enumerate()
        .find_map(|(floor, (_, _, modules))| modules.iter().position(|name| *name == module).map(|at| (floor, at)))
}

fn may_import(from: &str, to: &str) -> bool {
    let (Some(from), Some(to)) = (place(from), place(to)) else {
        return false;
    };
    let ordered = FLOORS[from.0].1;
    to.0 < from.0 || (to.0 == from.0 && (from.0 == TOP || from.1 == to.1 || (ordered && to.1 < from.1)))
}

/// One import: the line it stands on and the top module it names.
type Edge = (usize, String);

/// Every path of `source` that starts at the crate's root, by `crate::` or by enough `super::`s.
fn edges(source: &Source) -> Vec<Edge> {
    let mut found = Vec::new();
    walk(&source.tokens, source.module().len(), &mut found);
    found
}

fn walk(tokens: &[TokenTree], depth: usize, found: &mut Vec<Edge>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let module = at >= 2 && matches!(&tokens[at - 2], TokenTree::Ident(word) if word == "mod");
                walk(&inner, depth + usize::from(module), found);
            }
            TokenTree::Ident(word) if word == "crate" && is_path(&tokens[at + 1..]) => {
                names(&tokens[at + 3..], found);
            }
            TokenTree::Ident(word) if word == "super" => {
                let mut supers = 1;
                while is_path(&tokens[at + 1..])
                    && matches!(tokens.get(at + 3), Some(TokenTree::Ident(next)) if next == "super")
                {
                    supers += 1;
                    at += 3;
                }
                if supers >= depth && is_path(&tokens[at + 1..]) {
                    names(&tokens[at + 3..], found);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_path(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(one), TokenTree::Punct(two), ..] if one.as_char() == ':' && two.as_char() == ':')
}

/// What follows `crate::`: a name, or names in braces.
fn names(tokens: &[TokenTree], found: &mut Vec<Edge>) {
    match tokens.first() {
        Some(TokenTree::Ident(name)) => found.push((name.span().start().line, name.to_string())),
        Some(TokenTree::Group(group)) => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
            for part in inner.split(comma) {
                names(part, found);
            }
        }
        _ => {}
    }
}

fn broker() -> Vec<Source> {
    files(&root().join("broker/src"))
}

/// Imports of `source` that do not point down.
fn violations(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some(from) = module.first() else { return Vec::new() };
    let wrong = edges(source).into_iter().filter(|(_, to)| !may_import(from, to));
    wrong
        .map(|(line, to)| format!("{}:{line}: `{from}` may not import `{to}`", source.path))
        .collect()
}

#[test]
fn every_import_points_down() {
    let sources = broker();
    let found: Vec<String> = sources
        .iter()
        .filter(|source| !source.of_tests)
        .flat_map(violations)
        .collect();
    assert!(
        found.is_empty(),
        "imports go to lower floors only (broker/docs/ARCHITECTURE.md):\n{}",
        found.join("\n")
    );
    let count: usize = sources.iter().map(|source| edges(source).len()).sum();
    assert!(count > 300, "only {count} imports were seen: the scan is broken");
}

#[test]
fn every_module_has_a_floor() {
    let modules: BTreeSet<String> = broker()
        .iter()
        .filter_map(|source| source.module().first().cloned())
        .collect();
    let homeless: Vec<&String> = modules.iter().filter(|module| place(module).is_none()).collect();
    assert!(
        homeless.is_empty(),
        "give them a floor in tests/tests/architecture.rs and lib.rs: {homeless:?}"
    );
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    let folders = ["broker/src", "tests/src", "tests/tests"].map(|folder| root().join(folder));
    let mut wrong = Vec::new();
    for folder in folders.iter().filter(|folder| folder.exists()) {
        for source in files(folder) {
            let path: PathBuf = folder.join(&source.path);
            let lines = source.text.lines().count();
            if !source.text.starts_with("//! ") {
                wrong.push(format!("{}: does not begin with a //! line", path.display()));
            }
            if lines > MAX_LINES && !source.of_tests && !folder.ends_with("tests/tests") {
                wrong.push(format!("{}: {lines} lines, more than {MAX_LINES}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_to_be_written() {
    let unfinished: Vec<String> = broker()
        .iter()
        .flat_map(|source| {
            macros(&source.tokens)
                .into_iter()
                .map(|(line, name)| format!("{}:{line}: {name}!", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(unfinished.is_empty(), "{}", unfinished.join("\n"));
}

/// `todo!` and `unimplemented!`, at every depth.
fn macros(tokens: &[TokenTree]) -> Vec<Edge> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                found.extend(macros(&inner));
            }
            TokenTree::Ident(word) if word == "todo" || word == "unimplemented" => {
                if matches!(tokens.get(at + 1), Some(TokenTree::Punct(punct)) if punct.as_char() == '!') {
                    found.push((word.span().start().line, word.to_string()));
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_scan_sees_every_way_to_import() {
    let seen = |path: &str, text: &str| violations(&Source::read(path, text.to_owned())).len();
    assert_eq!(
        seen(
            "policy/mod.rs",
            "//! x\nuse crate::base::id::GrantId;\nuse crate::sql::Class;"
        ),
        0
    );
    assert_eq!(
        seen("sql/mod.rs", "use crate::policy::Scope;"),
        1,
        "the order within a floor"
    );
    assert_eq!(
        seen("policy/mod.rs", "use crate::{base::id, decide::judge, store};"),
        2,
        "in braces"
    );
    assert_eq!(
        seen("policy/mod.rs", "fn f() { if true { crate::store::f(); } }"),
        1,
        "inline, deep"
    );
    assert_eq!(
        seen("policy/mod.rs", "use super::store::Row;"),
        1,
        "by super from a folder's root"
    );
    assert_eq!(
        seen("policy/words.rs", "use super::store::Row;"),
        0,
        "a child of its own parent"
    );
    assert_eq!(
        seen("policy/words.rs", "use super::super::store::Row;"),
        1,
        "by two supers"
    );
    assert_eq!(
        seen("policy/words.rs", "mod inner { use super::super::store::Row; }"),
        0,
        "one level deeper"
    );
    assert_eq!(
        seen("policy/mod.rs", "// crate::store\nconst X: &str = \"crate::store\";"),
        0,
        "words are not code"
    );
    assert_eq!(
        seen(
            "policy/mod.rs",
            "#[cfg(test)] mod tests { use crate::store::Row; } use crate::store::Row;"
        ),
        1
    );
    assert_eq!(
        seen(
            "policy/mod.rs",
            "mod a { #[cfg(test)] use crate::store::Row; fn f() {} }"
        ),
        0
    );
    assert_eq!(
        seen("http/mod.rs", "use crate::proxy::Front;"),
        1,
        "doors do not know each other"
    );
    let unfinished = Source::read("x.rs", "fn f() { if x { todo!() } }".to_owned());
    assert_eq!(macros(&unfinished.tokens).len(), 1);
}
