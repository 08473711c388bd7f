//! A case that is a conversation: the messages of the wire, one after another.
//!
//! Each step is a list of words: `Q sql` · `P name sql type…` (Parse) · `B portal statement value…` (Bind; values as
//! text) · `DS name`, `DP portal` (Describe) · `E portal [rows]` · `CS name`, `CP portal` (Close) · `H` (Flush) ·
//! `S` (Sync) · `d data`, `c`, `f` (COPY) · `X` (Terminate) · `R` (take every answer that is due before anything else
//! is sent). What stands between two `R` goes out in one write.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::ground::Ground;
use super::site::Site;
use super::wire::Received;
use crate::raw::{self, Raw};

/// Fills in what a case leaves to the runner, and what depends on the database: its name, and `{OID:type}` with the
/// number of a type.
pub async fn fill(ground: &Ground, site: &Site, text: &str) -> Result<String> {
    let mut text = ground.fill(text).replace("{DATABASE}", &site.name);
    while let Some((head, tail)) = text.split_once("{OID:") {
        let (name, rest) = tail.split_once('}').context("{OID: without an end")?;
        let oid = site.value(&format!("SELECT '{name}'::regtype::oid")).await?;
        text = format!("{head}{}{rest}", oid.unwrap_or_default());
    }
    Ok(text)
}

/// Says everything to `peer`, which is in the database of `site`, and takes everything that comes back.
pub async fn play(ground: &Ground, site: &Site, peer: &mut Raw, steps: &[Vec<String>]) -> Result<Received> {
    let began = Instant::now();
    let mut received = Received::default();
    let (mut out, mut due) = (Vec::new(), 0);
    for step in steps {
        let mut words = Vec::with_capacity(step.len());
        for word in step {
            words.push(fill(ground, site, word).await?);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words == ["R"] {
            if !exchange(peer, &mut received, &mut out, &mut due).await? {
                break;
            }
            continue;
        }
        due += usize::from(matches!(words.first(), Some(&"Q" | &"S")));
        out.extend(message(&words)?);
    }
    exchange(peer, &mut received, &mut out, &mut due).await?;
    received.took = began.elapsed();
    Ok(received)
}

/// The SQL that the steps say.
pub fn texts(steps: &[Vec<String>]) -> impl Iterator<Item = &str> {
    steps.iter().filter_map(|step| match step.as_slice() {
        [word, sql] if word == "Q" => Some(sql.as_str()),
        [word, _, sql, ..] if word == "P" => Some(sql.as_str()),
        _ => None,
    })
}

fn message(words: &[&str]) -> Result<Vec<u8>> {
    Ok(match words {
        ["Q", sql] => raw::query(sql),
        ["P", name, sql, types @ ..] => {
            let types: Result<Vec<u32>, _> = types.iter().map(|oid| oid.parse()).collect();
            raw::parse_typed(name, sql, &types?)
        }
        ["B", portal, statement, values @ ..] => {
            let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            raw::bind_values(portal, statement, &values)
        }
        ["DS", name] => raw::describe_statement(name),
        ["DP", name] => raw::describe(name),
        ["E", portal] => raw::execute(portal),
        ["E", portal, rows] => raw::execute_some(portal, rows.parse()?),
        ["CS", name] => raw::close('S', name),
        ["CP", name] => raw::close('P', name),
        ["H"] => raw::flush(),
        ["S"] => raw::sync(),
        ["d", data] => raw::copy_data(data.as_bytes()),
        ["c"] => raw::copy_done(),
        ["f"] => raw::copy_fail(),
        ["X"] => raw::frame('X', b""),
        other => bail!("no such step: {other:?}"),
    })
}

/// Sends what waits and takes as many ReadyForQuery as are due. False when the connection is gone.
async fn exchange(peer: &mut Raw, received: &mut Received, out: &mut Vec<u8>, due: &mut usize) -> Result<bool> {
    let _refused = peer.send(out).await;
    out.clear();
    while *due > 0 {
        let next = tokio::time::timeout(Duration::from_secs(20), peer.next()).await;
        let Ok(message) = next.with_context(|| format!("no answer after {:?}", received.results))? else {
            received.errors.push("closed".to_owned());
            return Ok(false);
        };
        *due -= usize::from(message.0 == 'Z');
        received.take(&[message]);
    }
    Ok(true)
}
