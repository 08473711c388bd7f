//! dbt with its preset.

use anyhow::Result;
use tests::tools::{Mode, dbt};

#[tokio::test(flavor = "multi_thread")]
async fn dbt_works_with_its_preset() -> Result<()> {
    dbt::dbt(Mode::Shared).await
}
