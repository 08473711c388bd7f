//! JSON stays JSON, whatever way it is read.

use anyhow::Result;
use tests::House;
use tests::raw::{Message, Raw, bind, execute, parse, query, sync};

use crate::{bind_binary, clean, peer, plan, values};

async fn ask(peer: &mut Raw, bytes: &[u8]) -> Result<Vec<Message>> {
    peer.send(bytes).await?;
    let answer = peer.until_ready(1).await?;
    clean("json", &answer);
    Ok(answer)
}

/// The COPY data of an answer, as one text.
fn copied(answer: &[Message]) -> String {
    let data = answer.iter().filter(|(tag, _)| *tag == 'd');
    String::from_utf8_lossy(&data.flat_map(|(_, body)| body.clone()).collect::<Vec<_>>()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_one_number_stays_a_document() -> Result<()> {
    let house = House::plan(plan()).await?;
    let (_, mut peer) = peer(&house, "netted").await?;
    let sql = "SELECT t, j, b FROM notes.bare ORDER BY id";
    for (bytes, version) in [
        (query(sql), ""),
        ([parse("", sql), bind("", ""), execute(""), sync()].concat(), ""),
        ([parse("", sql), bind_binary(""), execute(""), sync()].concat(), "\u{1}"),
    ] {
        let answer = ask(&mut peer, &bytes).await?;
        let rows: Vec<Vec<String>> = answer
            .iter()
            .filter(|(tag, _)| *tag == 'D')
            .map(|(_, body)| {
                values(body)
                    .into_iter()
                    .map(|value| String::from_utf8(value.unwrap()).unwrap())
                    .collect()
            })
            .collect();
        let [first, second] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        assert_eq!(*first, ["[card]", "\"[card]\"", &format!("{version}\"[card]\"")]);
        assert_eq!(
            *second,
            ["plain", "[\"[card]\", 1]", &format!("{version}{{\"a\": \"[card]\"}}")]
        );
    }
    for (sql, expected) in [
        (
            "COPY notes.bare TO STDOUT",
            "1\t[card]\t\"[card]\"\t\"[card]\"\n2\tplain\t[0, 1]\t{\"a\": 0}\n",
        ),
        (
            "COPY notes.bare (j, t) TO STDOUT",
            "\"[card]\"\t[card]\n[0, 1]\tplain\n",
        ),
        (
            "COPY notes.bare (t, j) TO STDOUT WITH (FORMAT csv, HEADER)",
            "t,j\n[card],\"\"\"[card]\"\"\"\nplain,\"[0, 1]\"\n",
        ),
        (
            "COPY notes.bare (t, j) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE *)",
            "\"[card]\",\"\"\"[card]\"\"\"\n\"plain\",\"[0, 1]\"\n",
        ),
        // Behind a query the types are not told: what may be a document is one.
        (
            "COPY (SELECT t, j FROM notes.bare ORDER BY id) TO STDOUT",
            "\"[card]\"\t\"[card]\"\nplain\t[0, 1]\n",
        ),
        (
            "COPY (SELECT j FROM notes.bare ORDER BY id) TO STDOUT (FORMAT csv)",
            "\"\"\"[card]\"\"\"\n\"[0, 1]\"\n",
        ),
        (
            "COPY notes.bare (t, j) TO STDOUT WITH (DELIMITER '|')",
            "[card]|[card]\nplain|[0, 1]\n",
        ),
    ] {
        assert_eq!(copied(&ask(&mut peer, &query(sql)).await?), expected, "{sql}");
        let extended = [parse("", sql), bind("", ""), execute(""), sync()].concat();
        assert_eq!(copied(&ask(&mut peer, &extended).await?), expected, "{sql}");
    }
    let sized = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let binary = ask(&mut peer, &query("COPY notes.bare TO STDOUT (FORMAT binary)")).await?;
    let data: Vec<&Vec<u8>> = binary
        .iter()
        .filter(|(tag, _)| *tag == 'd')
        .map(|(_, body)| body)
        .collect();
    let first = [
        &[0, 4, 0, 0, 0, 4, 0, 0, 0, 1][..],
        &sized("[card]"),
        &sized("\"[card]\""),
        &sized("\u{1}\"[card]\""),
    ]
    .concat();
    assert!(data.iter().any(|piece| piece.ends_with(&first)), "{data:?}");
    let second = [
        sized("plain"),
        sized("[\"[card]\", 1]"),
        sized("\u{1}{\"a\": \"[card]\"}"),
    ]
    .concat();
    assert!(data.iter().any(|piece| piece.ends_with(&second)), "{data:?}");
    assert_eq!(data.last().map(|piece| piece.as_slice()), Some(&[0xff, 0xff][..]));
    Ok(())
}
