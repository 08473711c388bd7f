//! `detect:` of a scope and `always-detect:` of a ceiling: what is looked for in the texts that a job receives.

use std::collections::BTreeMap;

use super::Origin;
use super::diagnostic::{Report, code};
use super::nearest::did_you_mean;
use super::node::Node;
use crate::detect::Kind;

/// What is looked for, and the line that asks for it.
pub type Detected = BTreeMap<Kind, Origin>;

/// Reads a list of kinds. What is no kind is reported and left out.
pub fn read(node: &Node, what: &str, report: &mut Report) -> Detected {
    let known = || Kind::ALL.iter().map(|kind| kind.as_str());
    let mut detected = Detected::new();
    for word in node.words(what, report).unwrap_or_default() {
        if let Some(kind) = Kind::ALL.iter().find(|kind| kind.as_str() == word.text) {
            detected.entry(*kind).or_insert_with(|| word.span.origin(report.path()));
        } else {
            let all = known().collect::<Vec<_>>().join(", ");
            let help = did_you_mean(word.text, known(), &format!("one of: {all}"));
            let message = format!("`{}` is nothing that can be detected", word.text);
            report.error(code::INVALID_VALUE, word.span, message, help);
        }
    }
    detected
}

/// What the scope asks for and what the ceiling demands: neither takes from the other.
pub fn effective(scope: &Detected, ceiling: &Detected) -> Detected {
    let mut all = ceiling.clone();
    all.extend(scope.clone());
    all
}

#[cfg(test)]
mod tests {
    use crate::policy::diagnostic::code;
    use crate::policy::operator::Operator;
    use crate::policy::tests::{MAIN, ORDERS, codes, example, one, scope, under};
    use crate::policy::{Scope, narrow};

    fn kinds(scope: &Scope) -> Vec<String> {
        let shown = scope.detect.iter().map(|(kind, origin)| format!("{kind} {origin}"));
        shown.collect()
    }

    #[test]
    fn the_scopes_kinds_and_the_ceilings_come_together() {
        let demanded = "always-mask: { app.customers.email: email, app.customers.phone: digits }";
        let text = example("broker.yaml").replace(demanded, "always-detect: [card, token]");
        let operator = Operator::read(&text, "broker.yaml").unwrap();
        let with = |more: &str| {
            let compiled = under(&operator, &one(MAIN, ORDERS, more));
            assert_eq!(compiled.diagnostics, [], "{more}");
            Scope::clone(compiled.scopes.get("s").unwrap().as_ref().unwrap())
        };
        let (bare, more) = (with("limits: { ttl: 10m }"), with("detect: [email, card]"));
        assert_eq!(kinds(&bare), ["card broker.yaml:59", "token broker.yaml:59"]);
        assert_eq!(
            kinds(&more),
            [
                "card .hoop/db-access.yaml:7",
                "email .hoop/db-access.yaml:7",
                "token broker.yaml:59"
            ]
        );
        assert_ne!(bare.digest, more.digest);
        let gone = narrow::taken_away(&bare, &more);
        assert_eq!(
            gone.as_deref(),
            Some("`email` is looked for in results now (.hoop/db-access.yaml:7)")
        );
        assert!(narrow::taken_away(&more, &bare).is_none_or(|gone| !gone.contains("looked for")));
    }

    #[test]
    fn what_is_no_kind_is_an_error() {
        assert_eq!(kinds(&scope(&one(MAIN, ORDERS, "limits: { ttl: 10m }"))), [""; 0]);
        let all = crate::policy::tests::operator();
        for (text, expected) in [
            ("detect: [cards]", code::INVALID_VALUE),
            ("detect: []", code::EMPTY),
            ("detect: card", code::WRONG_TYPE),
        ] {
            let compiled = under(&all, &one(MAIN, ORDERS, text));
            let found = codes(&compiled.diagnostics);
            assert_eq!(
                found.first().map(|(code, _)| *code),
                Some(expected),
                "{text}: {found:?}"
            );
        }
    }
}
