//! Every row that the job was given is counted, also of results that never came to their end.

use anyhow::Result;
use tests::raw::{bind, close, execute, execute_some, parse, query, sync, tags};

use crate::{ask, house, q, raw, rows};

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_results_without_an_end_are_counted() -> Result<()> {
    let house = house().await?;
    // Watched by `max-rows`, and not.
    for scope in ["rows", "few"] {
        let (mut peer, grant) = raw(&house, scope).await?;
        let read = "SELECT id FROM app.many WHERE id <= 8 ORDER BY id";
        let write = "UPDATE app.many SET body = body WHERE id <= 5 RETURNING id";
        let open = |sql: &str| [parse("", sql), bind("", "")].concat();
        let mut sent = 0;
        for (bytes, expected) in [
            // Two parts and no end; three parts and the end.
            (
                [
                    open(read),
                    execute_some("", 3),
                    execute_some("", 2),
                    close('P', ""),
                    sync(),
                ]
                .concat(),
                "12DDDsDDs3Z",
            ),
            (
                [
                    open(read),
                    execute_some("", 3),
                    execute_some("", 3),
                    execute(""),
                    sync(),
                ]
                .concat(),
                "12DDDsDDDsDDCZ",
            ),
            // The server tells all rows of it at its end.
            (
                [open(write), execute_some("", 2), execute(""), sync()].concat(),
                "12DDsDDDCZ",
            ),
            (query(read), "TDDDDDDDDCZ"),
            // Rows come before the error.
            (query("SELECT 1 / (n - 3) FROM generate_series(1, 5) n"), "TDDEZ"),
            (
                query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM app.many; FETCH 4 FROM c; COMMIT"),
                "CCTDDDDCCZ",
            ),
        ] {
            let answer = ask(&mut peer, &bytes, 1).await?;
            assert_eq!(tags(&answer), expected, "{scope}");
            sent += rows(&answer);
        }
        assert_eq!(
            tags(&q(&mut peer, "UPDATE app.many SET body = body WHERE id = 1").await?),
            "CZ"
        );
        sent += 1;
        let totals = house.revoke(&grant).await?["totals"].clone();
        assert_eq!(totals["rows"], sent, "{scope}: {totals}");
        let sessions = house.ended_sessions(&["--grant", &grant.id()])?;
        assert_eq!(sessions[0]["rows"], sent, "{scope}: {sessions:?}");
    }
    assert!(house.verify_ledger()?.0);
    Ok(())
}
