//! The `hoop-db` binary.

fn main() {}
