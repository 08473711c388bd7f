//! Words: the small vocabulary every other floor speaks. No I/O.

pub mod clock;
pub mod fault;
pub mod id;
pub mod pattern;
pub mod rate;
pub mod secret;
