//! The expressions as text; what they do is tried on a live server in `tests/masks.rs`.
