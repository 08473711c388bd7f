//! The head: a small file beside the chain that says how far it certainly reaches.
//!
//! It is replaced after the chain is on disk, never before, so everything up to it must be there and must verify. It
//! also says how much of each journal is chained, so that a start reads the end of the chain and not the whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Linker};

/// How far the chain certainly reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last record's number; 0 when there is none.
    pub seq: u64,
    /// The last record's hash.
    pub hash: Hash,
    /// The segment it is in.
    pub segment: u64,
    /// Where in that segment it ends.
    pub bytes: u64,
    /// How much of each living journal is chained.
    pub journals: BTreeMap<String, u64>,
    /// Journals that are chained whole and are about to be deleted.
    pub finished: BTreeSet<String>,
}

impl Head {
    /// The head of a ledger without a record.
    pub fn genesis() -> Self {
        let Linker { seq, hash } = Linker::genesis();
        Self {
            seq,
            hash,
            segment: 1,
            bytes: 0,
            journals: BTreeMap::new(),
            finished: BTreeSet::new(),
        }
    }
}
