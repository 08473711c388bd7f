//! What the operator sees: the log and the metrics. Neither ever holds a secret, a token or a literal of a statement.

pub mod log;
pub mod metrics;

pub use log::init;
pub use metrics::{Counted, Metrics};
