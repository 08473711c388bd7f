//! The ledger's own facts: what a record says, how records are chained, how a chain is checked and read back.
//!
//! Everything here is pure: bytes in, typed value or bytes out. The disk is `record`'s business.

pub mod chain;
mod encode;
pub mod finding;
pub mod head;
pub mod record;
pub mod render;
pub mod verify;
pub mod view;

pub use chain::{GENESIS, Hash, Linker, Peek};
pub use encode::encode;
pub use finding::{Finding, Trouble};
pub use head::Head;
pub use record::{Counts, Cut, Entry, Minted, OpenIntent, Record, Rules, Status, capped};
pub use verify::Verifier;
pub use view::{Filter, SessionDetail, SessionSummary};
