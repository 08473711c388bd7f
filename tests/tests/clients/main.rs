//! Real clients work through an endpoint: each test drives one client against the real broker and the real PostgreSQL,
//! and asserts what the client saw, what the database holds and what the ledger says.

mod etl;
mod java;
mod masked;
mod masks;
mod node;
mod pgbench;
mod psql;
mod python;
mod tokio_postgres;
mod tools;

use tests::tools::{client, node, nothing_refused, python, recorded, report, script};
