//! R12 over HTTP: what the library refuses, a running broker refuses with the same code.

use anyhow::Result;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_broker_refuses_every_hostile_token_and_mints_one_grant_per_token() -> Result<()> {
    tests::prove::hostile::hostile(1).await?.sound()
}
