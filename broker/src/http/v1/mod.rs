//! `/v1`.

pub mod grants;
pub mod kill;
