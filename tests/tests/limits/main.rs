//! Limits on a live server: what the job received, what the database holds afterwards, and where the session stands.

mod deferred;
mod received;
mod refused;
mod results;
mod time;
mod written;

use anyhow::Result;
use tests::raw::{Message, Raw, bind, describe, endpoint, execute, field, parse, query, tags};
use tests::{Grant, House, Plan};

pub const POLICY: &str = include_str!("../../fixtures/limits.yaml");

pub fn plan() -> Plan {
    let mut plan = Plan::default();
    plan.schema += include_str!("../../fixtures/limits.sql");
    plan.policy = POLICY.to_owned();
    plan.extra = include_str!("../../fixtures/ceilings.yaml")
        .replace("[\"pg_catalog.*\"]", "[\"pg_catalog.*\", \"app.*\"]")
        .replace("lock, listen, notify]", "lock, listen, notify, call, do]");
    plan
}

pub async fn house() -> Result<House> {
    House::plan(plan()).await
}

/// The policy's line that sets `key` in `scope`.
pub fn line(scope: &str, key: &str) -> String {
    let start = POLICY.find(&format!("  {scope}:\n")).expect("the scope");
    let at = start + POLICY[start..].find(key).expect("the key");
    let line = POLICY[..at].matches('\n').count() + 1;
    format!(".hoop/db-access.yaml:{line} (scope {scope})")
}

pub async fn raw(house: &House, scope: &str) -> Result<(Raw, Grant)> {
    let grant = house.grant(scope).await?;
    Ok((endpoint(house, &grant, &[("database", "shop")]).await?, grant))
}

pub async fn ask(peer: &mut Raw, bytes: &[u8], readies: usize) -> Result<Vec<Message>> {
    peer.send(bytes).await?;
    peer.until_ready(readies).await
}

pub async fn q(peer: &mut Raw, sql: &str) -> Result<Vec<Message>> {
    ask(peer, &query(sql), 1).await
}

/// SQLSTATE and message of the only error.
#[track_caller]
pub fn error(messages: &[Message]) -> (String, String) {
    let mut errors = messages.iter().filter(|(tag, _)| *tag == 'E');
    let (_, body) = errors
        .next()
        .unwrap_or_else(|| panic!("no error in {}", tags(messages)));
    assert!(errors.next().is_none(), "one error");
    (field(body, 'C'), field(body, 'M'))
}

pub fn status(messages: &[Message]) -> char {
    messages.last().map_or('?', |(_, body)| char::from(body[0]))
}

pub fn rows(messages: &[Message]) -> usize {
    messages.iter().filter(|(tag, _)| matches!(tag, 'D' | 'd')).count()
}

pub fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), describe(""), execute("")].concat()
}

pub fn count(house: &House, table: &str) -> Result<String> {
    house.cluster.psql("shop", &format!("SELECT count(*) FROM app.{table}"))
}

pub fn verified(house: &House) -> Result<()> {
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}
