//! The long proofs: each takes a seed and a count, works against a real broker and a real PostgreSQL, and returns a
//! score. `make prove` runs them at full count, the tests run the same code a few times.

pub mod canary;
pub mod crash;
pub mod cut;
pub mod endings;
pub mod full;
pub mod fuzz;
pub mod hostile;
pub mod layer;
pub mod masks;
pub mod oracle;
pub mod regress;
pub mod reworded;
pub mod score;
pub mod versions;
pub mod workload;

pub use canary::Canaries;
pub use score::{Aim, Report, Score, Times};

/// The operator's token of every house.
pub const OPERATOR: &str = "operator-token-of-the-tests";

/// What the proofs' scopes are, besides the usual two.
pub fn policy() -> String {
    let usual = include_str!("../../fixtures/policy.yaml");
    let brief = r#"
  brief:
    description: For the ends that the clock brings.
    database: shop
    who:
      - { issuer: github, branch: main, environment: production, events: [push, workflow_dispatch] }
    can:
      - { statements: [read, write], tables: ["app.*"] }
      - { functions: ["pg_catalog.*"] }
    limits: { ttl: 1s, max-session: 2s, max-connections: 1 }
"#;
    usual.replace(
        "functions: [\"pg_catalog.*\"]",
        "functions: [\"pg_catalog.*\", pg_catalog.pg_sleep]",
    ) + brief
}

/// The operator's ceilings, and a rate limit that lets one loopback address ask as fast as it can.
pub fn operator() -> String {
    include_str!("../../fixtures/ceilings.yaml").replace(
        "functions: [\"pg_catalog.*\"]",
        "functions: [\"pg_catalog.*\", pg_catalog.pg_sleep]",
    ) + "rate-limit: { per-second: 100000, burst: 100000 }\n"
}

/// SplitMix64: the same seed gives the same choices everywhere.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for part `part`.
    pub fn part(&self, part: u64) -> Self {
        let mut mixed = Self(self.0 ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(mixed.number())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// A number from `low` up to and including `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
}
