//! A bounded sample of the long proofs (`make prove`): the same code, a few tries of each.

use anyhow::Result;
use tests::prove;

const SEED: u64 = 20_261_122;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_lost_no_record_and_no_row() -> Result<()> {
    prove::crash::crash(SEED, 4).await?.sound()
}
