//! dbt with its preset.

use anyhow::Result;
use tests::tools::{Mode, dbt};

#[tokio::test(flavor = "multi_thread")]
async fn dbt_works_with_its_preset() -> Result<()> {
    dbt::dbt(Mode::Shared).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dbt_works_where_postgresql_enforces_as_well() -> Result<()> {
    dbt::dbt(Mode::Role).await
}
