//! `mask:` and `always-mask:`: what is read, what a ceiling demands, what changes a digest.

use std::collections::BTreeSet;

use super::MaskRule;
use super::diagnostic::code;
use super::operator::Operator;
use super::tests::{MAIN, ORDERS, codes, example, keyless, one, operator, scope, undemanding, under};

#[test]
fn masks_of_the_scope_and_of_the_ceiling_come_together() {
    const CUSTOMERS: &str = "{ statements: [select], tables: [app.customers] }";
    let masks = |operator: &Operator, more: &str| {
        let compiled = under(operator, &one(MAIN, CUSTOMERS, more));
        assert_eq!(compiled.diagnostics, [], "{more}");
        let scope = compiled.scopes.get("s").unwrap().clone().unwrap();
        let show = |rule: &MaskRule| {
            let by = if rule.by_operator { " by the operator" } else { "" };
            format!("{} {} {}{by}", rule.name(), rule.mask, rule.origin)
        };
        scope.masks.iter().map(show).collect::<Vec<_>>()
    };
    let (plain, demanding) = (undemanding(), operator());
    assert_eq!(masks(&plain, ""), [""; 0]);
    assert_eq!(
        masks(
            &plain,
            "mask: { app.customers.name: fake-name, app.customers.born: { bucket: year } }"
        ),
        [
            "app.customers.born { bucket: year } .hoop/db-access.yaml:7",
            "app.customers.name fake-name .hoop/db-access.yaml:7"
        ]
    );
    // A scope that says nothing is masked all the same; one that hides more keeps its own.
    let demanded = [
        "app.customers.email email broker.yaml:59 by the operator",
        "app.customers.phone digits broker.yaml:59 by the operator",
    ];
    assert_eq!(masks(&demanding, ""), demanded);
    assert_eq!(
        masks(
            &demanding,
            "mask: { app.customers.phone: nullify, app.customers.email: email }"
        ),
        [
            "app.customers.email email .hoop/db-access.yaml:7 by the operator",
            "app.customers.phone nullify .hoop/db-access.yaml:7 by the operator",
        ]
    );
    let fixed = "mask: { app.customers.phone: { fixed: 12 }, app.customers.x: { fixed: true }, app.customers.y: { fixed: 1.5 } }";
    assert_eq!(
        masks(&plain, fixed)[0],
        "app.customers.phone { fixed: \"12\" } .hoop/db-access.yaml:7"
    );
}

#[test]
fn every_form_of_a_mask_is_read_as_it_is_shown() {
    let forms = [
        "nullify",
        "digits",
        "email",
        "fake-name",
        "{ fixed: \"it's\" }",
        "{ partial: { keep-last: 4, with: \"*\" } }",
        "{ partial: { keep-first: 1, keep-last: 2, with: \"#\" } }",
        "{ bucket: 100 }",
        "{ bucket: quarter }",
        "{ json: { \"a.b[]\": digits, c: { partial: { keep-first: 1, with: \"*\" } } } }",
    ];
    for form in forms {
        let scope = scope(&one(MAIN, ORDERS, &format!("mask: {{ app.orders.x: {form} }}")));
        let rule = scope.masks.iter().find(|rule| !rule.by_operator).unwrap();
        assert_eq!(rule.mask.to_string(), form);
        assert!(!rule.mask.needs_key());
    }
    // With a key they are read, and refused for want of a place to keep it.
    for form in [
        "{ hash: hmac }",
        "{ email: stable }",
        "{ fake-name: stable }",
        "{ date-shift: 30d }",
    ] {
        let found = under(
            &operator(),
            &one(MAIN, ORDERS, &format!("mask: {{ app.orders.x: {form} }}")),
        )
        .diagnostics;
        assert_eq!(codes(&found), [(code::INVALID_VALUE, 7)], "{found:#?}");
        assert!(
            found[0].message.starts_with(&format!("`{form}` needs a key")),
            "{found:#?}"
        );
    }
}

#[test]
fn a_mask_decides_and_is_part_of_the_digest() {
    let with = |more: &str| scope(&one(MAIN, ORDERS, more));
    let bare = with("limits: { ttl: 10m }");
    let digits = with("mask: { app.orders.x: digits }");
    let all = [
        &bare,
        &digits,
        &with("mask: { app.orders.x: nullify }"),
        &with("mask: { app.orders.y: digits }"),
        &with("mask: { app.orders.x: { fixed: a } }"),
        &with("mask: { app.orders.x: { fixed: b } }"),
    ];
    let digests: BTreeSet<_> = all.iter().map(|scope| scope.digest.clone()).collect();
    assert_eq!(digests.len(), all.len());
    let free = under(&undemanding(), &one(MAIN, ORDERS, "limits: { ttl: 10m }"));
    assert_ne!(free.scopes.get("s").unwrap().as_ref().unwrap().digest, bare.digest);
}

#[test]
fn a_ceiling_masks_with_a_key_only_where_there_is_a_place_for_it() {
    let always = |masks: &str, key: &str| {
        let text = keyless()
            .replace(
                "        max: { ttl: 30m",
                &format!("        always-mask: {masks}\n        max: {{ ttl: 30m"),
            )
            .replace("    enforcement: role ", &format!("{key}    enforcement: role "));
        Operator::read(&text, "broker.yaml")
            .map_err(|found| codes(&found))
            .err()
    };
    // orders-prod is enforced by PostgreSQL as well.
    assert_eq!(always("{ app.customers.email: email }", ""), None);
    let hash = "{ app.customers.email: { hash: hmac } }";
    assert_eq!(always(hash, ""), Some(vec![(code::INVALID_VALUE, 56)]));
    assert_eq!(always(hash, "    mask-key: \"file:/etc/hoop/mask-key\"\n"), None);
    let shared = |masks: &str| {
        let demanded = "{ app.customers.email: email, app.customers.phone: digits }";
        codes(&Operator::read(&example("broker.yaml").replace(demanded, masks), "broker.yaml").unwrap_err())
    };
    assert_eq!(
        shared("{ app.customers.email: { hash: hmac } }"),
        [(code::INVALID_VALUE, 59)]
    );
    assert_eq!(shared("{ 'app.*.email': email }"), [(code::INVALID_VALUE, 59)]);
    assert_eq!(shared("{}"), [(code::EMPTY, 59)]);
}
