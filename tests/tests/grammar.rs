//! The walk over PostgreSQL's grammar: every kind of node has a fate, the fate is what the code does, and the document
//! says the same. That no kind is missing is proved by the compiler: the match in `sql::grammar` has no wildcard.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use hoop::sql::grammar::{Fate, KINDS};
use proc_macro2::{Delimiter, TokenTree};
use tests::house::root;
use tests::source::{Source, files};

fn walk() -> Vec<Source> {
    let all = files(&root().join("broker/src/sql/lower"));
    all.into_iter().filter(|source| !source.of_tests).collect()
}

fn is_punct(token: Option<&TokenTree>, symbol: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == symbol)
}

/// Every `first::Name` with what follows it.
fn paths(tokens: &[TokenTree], first: &str, found: &mut Vec<(String, Option<TokenTree>)>) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => paths(&group.stream().into_iter().collect::<Vec<_>>(), first, found),
            TokenTree::Ident(word) if word == first && is_punct(tokens.get(at + 1), ':') => {
                if let Some(TokenTree::Ident(name)) = tokens.get(at + 3) {
                    found.push((name.to_string(), tokens.get(at + 4).cloned()));
                }
            }
            _ => {}
        }
    }
}

#[test]
fn what_is_called_lowered_is_named_by_the_walk_and_nothing_else_is() {
    let mut named = BTreeSet::new();
    for source in walk() {
        // There the class of a statement that is denied as a whole is told, by its kind.
        let classes = source.path == "statement.rs";
        let mut found = Vec::new();
        paths(&source.tokens, "NodeEnum", &mut found);
        for (kind, _) in found {
            let fate = KINDS.iter().find(|(name, _)| *name == kind).map(|(_, fate)| *fate);
            let fits = fate == Some(Fate::Lowered) || (classes && matches!(fate, Some(Fate::Opaque(_))));
            assert!(fits, "{}: {kind} is {fate:?}", source.path);
            named.insert(kind);
        }
    }
    for (kind, fate) in KINDS {
        assert!(
            *fate != Fate::Lowered || named.contains(*kind),
            "{kind} is called lowered, and no code names it"
        );
    }
}

#[test]
fn every_node_is_taken_apart_field_by_field() {
    let mut patterns = 0;
    for source in walk() {
        let mut found = Vec::new();
        paths(&source.tokens, "nodes", &mut found);
        for (name, next) in found {
            let Some(TokenTree::Group(group)) = next else { continue };
            if group.delimiter() != Delimiter::Brace {
                continue;
            }
            patterns += 1;
            let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
            let mut last = tokens.iter().rev();
            let rest = is_punct(last.next(), '.') && is_punct(last.next(), '.');
            assert!(
                !rest,
                "{}: a field that is added to {name} would slip through",
                source.path
            );
        }
    }
    assert!(patterns > 100, "only {patterns} patterns were seen: the scan is broken");
}

#[test]
fn the_document_says_what_the_code_does() {
    let mut text = "# Every kind of node of the grammar\n\n\
        Written by `UPDATE_EXPECTED=1 cargo test -p tests --test grammar`. The authority is `broker/src/sql/grammar/kinds.rs`,\n\
        where a kind that a new grammar adds breaks the build.\n\n\
        * **lowered**: the walk takes it apart wherever it may stand; where it may not, the statement is denied.\n\
        * **part**: never a node by itself; the walk takes it apart as a part of the one that holds it.\n\
        * **inner**: made after parsing, inside the server; in a parse tree it denies the statement.\n\
        * **denied**: a statement that holds it is denied, for the reason given.\n\n\
        | kind | fate |\n|---|---|\n"
        .to_owned();
    for (kind, fate) in KINDS {
        let fate = match fate {
            Fate::Lowered => "lowered".to_owned(),
            Fate::Part => "part".to_owned(),
            Fate::Inner => "inner".to_owned(),
            Fate::Opaque(why) => format!("denied: {why}"),
        };
        writeln!(text, "| `{kind}` | {fate} |").expect("a String takes everything");
    }
    let path = root().join("broker/docs/GRAMMAR.md");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &text).expect("the document can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{}: UPDATE_EXPECTED=1 cargo test -p tests --test grammar",
        path.display()
    );
}
