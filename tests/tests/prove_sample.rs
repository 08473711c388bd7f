//! A bounded sample of the long proofs (`make prove`): the same code, a few tries of each.

use anyhow::Result;
use tests::prove;

const SEED: u64 = 20_261_122;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_lost_no_record_and_no_row() -> Result<()> {
    prove::crash::crash(SEED, 4).await?.sound()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_or_broken_session_leaves_nothing_behind() -> Result<()> {
    prove::cut::cut(SEED, 30).await?.sound()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_the_clock_and_the_limits_end_what_they_should() -> Result<()> {
    prove::endings::endings(1).await?.sound()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_brokers_leave_no_role_behind() -> Result<()> {
    prove::layer::layer(SEED, 16).await?.sound()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_statements_and_nothing_else() -> Result<()> {
    prove::full::full(prove::full::Means::Limit, 1).await?.sound()
}
