//! The corpus: attacks and honest statements, tried against a real broker and a real PostgreSQL, and judged by the
//! effect on the live database and by the bytes the job received, never by the verdict.

pub mod case;
pub mod ground;
pub mod judge;
pub mod layer;
pub mod matrix;
pub mod mutate;
pub mod print;
pub mod proto;
pub mod replay;
pub mod report;
pub mod run;
pub mod site;
pub mod steps;
pub mod survivors;
pub mod tap;
pub mod wire;

pub use case::{Case, Corpus, Expect};
pub use ground::Ground;
pub use judge::Judge;
pub use layer::Layer;
pub use report::Report;
pub use run::{Options, run};
