//! The key of masks in the database: one row in the broker's own schema, which only the keepers of views may read.
//!
//! It goes there by COPY in binary: a server that logs every statement with its parameters logs no data of COPY.

use bytes::Bytes;
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use crate::mask::SCHEMA;
use crate::mask::keyed::{Pads, TABLE};
use crate::sql::quote::{identifier, qualified};

/// Makes the table and keeps `pads` in it, and lets `keepers` read it. True when there was another key.
pub async fn keep<'k>(
    transaction: &Transaction<'_>,
    pads: &Pads,
    keepers: impl Iterator<Item = &'k str>,
) -> Result<bool, tokio_postgres::Error> {
    let table = qualified(SCHEMA, TABLE);
    let row = transaction
        .query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&table])
        .await?;
    if !row.get::<_, bool>(0) {
        transaction
            .batch_execute(&format!(
                "CREATE TABLE {table} (\"ipad\" pg_catalog.bytea NOT NULL, \"opad\" pg_catalog.bytea NOT NULL); \
                 COMMENT ON TABLE {table} IS 'hoop-db: the key of masks; whoever reads it can test guesses at masked values'"
            ))
            .await?;
    }
    let read = format!("SELECT \"ipad\", \"opad\" FROM {table}");
    let rows = transaction.query(&read, &[]).await?;
    let held: Vec<Pads> = rows
        .iter()
        .map(|row| Pads {
            inner: row.get(0),
            outer: row.get(1),
        })
        .collect();
    let changed = held.as_slice() != [pads.clone()];
    if changed {
        transaction.batch_execute(&format!("DELETE FROM {table}")).await?;
        let copy = format!("COPY {table} (\"ipad\", \"opad\") FROM STDIN (FORMAT binary)");
        let sink = transaction.copy_in::<_, Bytes>(&copy).await?;
        let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, &[Type::BYTEA, Type::BYTEA]));
        writer.as_mut().write(&[&pads.inner, &pads.outer]).await?;
        writer.finish().await?;
    }
    for keeper in keepers {
        let grant = format!("GRANT SELECT ON TABLE {table} TO {}", identifier(keeper));
        let row = transaction
            .query_one("SELECT pg_catalog.has_table_privilege($1::pg_catalog.text::pg_catalog.name, $2::pg_catalog.text, 'SELECT')", &[&keeper, &table])
            .await?;
        if !row.get::<_, bool>(0) {
            transaction.batch_execute(&grant).await?;
        }
    }
    Ok(changed && !held.is_empty())
}
