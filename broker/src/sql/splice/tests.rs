//! Every place a relation can stand in, with what shall come out.

use super::*;
use crate::sql::{read, sample};

fn rewritten(text: &str) -> Result<String, String> {
    rewritten_to(text, &Stand::Query("SELECT 1".to_owned()))
}

fn rewritten_to(text: &str, stand: &Stand) -> Result<String, String> {
    let mut snapshot = sample::fixture();
    for relations in snapshot.relations.values_mut() {
        for relation in relations.values_mut().filter(|relation| relation.name == "customers") {
            relation.key = vec!["id".to_owned()];
        }
    }
    let statements = read(text, &snapshot).unwrap();
    let [statement] = statements.as_slice() else {
        panic!("{text}")
    };
    assert_eq!(statement.opaque, Vec::<String>::new(), "{text}");
    let replacements: Vec<Replacement> = statement
        .sources
        .iter()
        .filter(|source| source.name == "customers")
        .map(|source| Replacement {
            grouped: match (&source.grouping, &source.columns) {
                (Some(grouping), crate::sql::Columns::Named(read)) => {
                    let others = grouping.columns.iter().filter(|(column, _)| read.contains(column));
                    others.map(|(_, seen)| seen.clone()).collect()
                }
                _ => Vec::new(),
            },
            source: source.clone(),
            stand: stand.clone(),
        })
        .collect();
    assert!(!replacements.is_empty(), "{text}");
    let edits = Edits {
        rows: replacements,
        values: Vec::new(),
    };
    splice(text, &edits).map_err(|fault| fault.to_string())
}

/// Texts, and what becomes of them.
const PLACES: &[(&str, &str)] = &[
    ("SELECT id FROM customers", "SELECT id FROM (SELECT 1) AS \"customers\""),
    ("SELECT c.id FROM customers c", "SELECT c.id FROM (SELECT 1) c"),
    (
        "SELECT c.a FROM public.customers AS c (a, b)",
        "SELECT c.a FROM (SELECT 1) AS c (a, b)",
    ),
    ("SELECT c.id FROM customers * c", "SELECT c.id FROM (SELECT 1) c"),
    (
        "SELECT c.id FROM customers/**/*/**/AS c",
        "SELECT c.id FROM (SELECT 1)/**/AS c",
    ),
    (
        "SELECT id FROM ONLY customers",
        "SELECT id FROM (SELECT 1) AS \"customers\"",
    ),
    (
        "SELECT id FROM ONLY (customers) WHERE id = 1",
        "SELECT id FROM (SELECT 1) AS \"customers\" WHERE id = 1",
    ),
    ("TABLE customers", "SELECT * FROM (SELECT 1) AS \"customers\""),
    ("TABLE ONLY customers", "SELECT * FROM (SELECT 1) AS \"customers\""),
    (
        "SELECT public.customers.id FROM public.customers",
        "SELECT customers.id FROM (SELECT 1) AS \"customers\"",
    ),
    (
        "SELECT \"public\" . customers . id, public.customers.* FROM public.customers",
        "SELECT customers . id, customers.* FROM (SELECT 1) AS \"customers\"",
    ),
    (
        "SELECT corpus.public.customers.id, corpus.public.customers.* FROM corpus.public.customers",
        "SELECT customers.id, customers.* FROM (SELECT 1) AS \"customers\"",
    ),
    (
        "SELECT o.id FROM orders o JOIN \"customers\" ON customers.id = o.customer_id",
        "SELECT o.id FROM orders o JOIN (SELECT 1) AS \"customers\" ON customers.id = o.customer_id",
    ),
    (
        "SELECT a.id FROM customers a, public.customers b WHERE a.id = b.id",
        "SELECT a.id FROM (SELECT 1) a, (SELECT 1) b WHERE a.id = b.id",
    ),
    (
        "WITH c AS (SELECT id FROM customers) SELECT id FROM c",
        "WITH c AS (SELECT id FROM (SELECT 1) AS \"customers\") SELECT id FROM c",
    ),
    (
        "SELECT (SELECT max(id) FROM customers) FROM orders",
        "SELECT (SELECT max(id) FROM (SELECT 1) AS \"customers\") FROM orders",
    ),
    (
        "UPDATE orders SET note = c.name FROM customers c WHERE c.id = customer_id",
        "UPDATE orders SET note = c.name FROM (SELECT 1) c WHERE c.id = customer_id",
    ),
    (
        "DELETE FROM orders USING customers c WHERE c.id = customer_id",
        "DELETE FROM orders USING (SELECT 1) c WHERE c.id = customer_id",
    ),
    (
        "INSERT INTO scratch TABLE customers",
        "INSERT INTO scratch SELECT * FROM (SELECT 1) AS \"customers\"",
    ),
    (
        "COPY (SELECT id FROM customers) TO STDOUT",
        "COPY (SELECT id FROM (SELECT 1) AS \"customers\") TO STDOUT",
    ),
    ("COPY customers TO STDOUT", "COPY (SELECT 1) TO STDOUT"),
    (
        "COPY public.customers (id, \"name\") TO STDOUT WITH (FORMAT csv)",
        "COPY (SELECT 1) TO STDOUT WITH (FORMAT csv)",
    ),
    (
        "DECLARE k CURSOR FOR SELECT id FROM customers",
        "DECLARE k CURSOR FOR SELECT id FROM (SELECT 1) AS \"customers\"",
    ),
    (
        "PREPARE p(int) AS SELECT id FROM customers WHERE id = $1",
        "PREPARE p(int) AS SELECT id FROM (SELECT 1) AS \"customers\" WHERE id = $1",
    ),
    (
        "EXPLAIN SELECT id FROM customers",
        "EXPLAIN SELECT id FROM (SELECT 1) AS \"customers\"",
    ),
    (
        "SELECT c.id, c.name, count(*) FROM customers c GROUP BY c.id",
        "SELECT c.id, c.name, count(*) FROM (SELECT 1) c GROUP BY \"c\".\"name\", c.id",
    ),
    (
        "SELECT name FROM customers GROUP BY id",
        "SELECT name FROM (SELECT 1) AS \"customers\" GROUP BY \"customers\".\"name\", id",
    ),
    (
        "SELECT id, name, count(*) FROM customers GROUP BY 1",
        "SELECT id, name, count(*) FROM (SELECT 1) AS \"customers\" GROUP BY \"customers\".\"name\", 1",
    ),
    (
        "SELECT c.name, c.id AS key FROM customers c GROUP BY key",
        "SELECT c.name, c.id AS key FROM (SELECT 1) c GROUP BY \"c\".\"name\", key",
    ),
    (
        "SELECT name, id FROM customers GROUP BY ((id)), (1)",
        "SELECT name, id FROM (SELECT 1) AS \"customers\" GROUP BY \"customers\".\"name\", ((id)), (1)",
    ),
    (
        "SELECT name, id FROM customers GROUP BY name, (2)",
        "SELECT name, id FROM (SELECT 1) AS \"customers\" GROUP BY name, \"customers\".\"name\", (2)",
    ),
    // A name is a column of FROM first, and what is behind a star has no known position.
    (
        "SELECT name, id AS name FROM customers GROUP BY name",
        "SELECT name, id AS name FROM (SELECT 1) AS \"customers\" GROUP BY name",
    ),
    (
        "SELECT o.*, c.id, c.name FROM orders o, customers c GROUP BY 2, o.id",
        "SELECT o.*, c.id, c.name FROM orders o, (SELECT 1) c GROUP BY 2, o.id",
    ),
    (
        "SELECT id, name FROM customers GROUP BY id, ROLLUP (2)",
        "SELECT id, name FROM (SELECT 1) AS \"customers\" GROUP BY id, ROLLUP (2)",
    ),
    (
        "SELECT id, name FROM customers GROUP BY id, GROUPING SETS ((name), ())",
        "SELECT id, name FROM (SELECT 1) AS \"customers\" GROUP BY id, GROUPING SETS ((name), ())",
    ),
    (
        "SELECT id FROM customers -- ü\n WHERE name = 'customers'",
        "SELECT id FROM (SELECT 1) AS \"customers\" -- ü\n WHERE name = 'customers'",
    ),
    (
        "MERGE INTO orders o USING customers c ON c.id = o.customer_id WHEN MATCHED THEN DO NOTHING",
        "MERGE INTO orders o USING (SELECT 1) c ON c.id = o.customer_id WHEN MATCHED THEN DO NOTHING",
    ),
];

#[test]
fn every_place_in_from() {
    for (text, expected) in PLACES {
        assert_eq!(rewritten(text).as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn what_cannot_be_edited_is_refused() {
    for text in [
        "SELECT id FROM U&\"custome\\0072s\"",
        "SELECT id FROM public.U&\"custome\\0072s\"",
    ] {
        assert!(rewritten(text).is_err(), "{text}: {:?}", rewritten(text));
    }
}

#[test]
fn another_relation_stands_where_a_query_would() {
    let stand = Stand::Relation {
        schema: "hoop_masks".to_owned(),
        name: "m_1".to_owned(),
    };
    for (text, expected) in [
        (
            "LOCK TABLE customers, orders IN ACCESS SHARE MODE",
            "LOCK TABLE \"hoop_masks\".\"m_1\", orders IN ACCESS SHARE MODE",
        ),
        (
            "LOCK ONLY (public.customers) IN ACCESS SHARE MODE",
            "LOCK \"hoop_masks\".\"m_1\" IN ACCESS SHARE MODE",
        ),
    ] {
        assert_eq!(rewritten_to(text, &stand).as_deref(), Ok(expected), "{text}");
    }
    for (text, expected) in PLACES {
        let expected = expected.replace("(SELECT 1)", "\"hoop_masks\".\"m_1\"");
        let found = rewritten_to(text, &stand);
        if text.starts_with("COPY") && !text.starts_with("COPY (") {
            assert!(found.is_err(), "{text}: {found:?}");
        } else {
            assert_eq!(found, Ok(expected), "{text}");
        }
    }
}
