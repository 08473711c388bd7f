//! `make bench`: direct, a bare relay, PgBouncer and this proxy side by side in one run.

mod budgets;
pub mod bulk;
pub mod control;
pub mod cpu;
pub mod idle;
pub mod inner;
pub mod masked;
pub mod plot;
pub mod relay;
pub mod report;
pub mod rig;
pub mod slices;
pub mod stats;
pub mod wire;
