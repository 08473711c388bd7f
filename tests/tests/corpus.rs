//! The corpus by its effect, and refused statements in other words: the proxy alone enforces.

use anyhow::Result;
use tests::corpus::wire::Mode;
use tests::corpus::{Corpus, Options, run};
use tests::prove::reworded::reworded;

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_and_every_honest_statement_does() -> Result<()> {
    let options = Options {
        modes: &[Mode::Simple, Mode::Extended],
        ..Options::default()
    };
    let report = run(&Corpus::own()?, &options).await?;
    assert!(report.failures().next().is_none(), "{report}");
    assert!(report.lines.len() > 290, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_statement_reaches_without_naming_it_is_judged() -> Result<()> {
    let options = Options {
        modes: &[Mode::Simple, Mode::Cursor],
        ..Options::default()
    };
    let folder = tests::house::root().join("tests/corpus/reach");
    let report = run(&Corpus::read(&folder)?, &options).await?;
    assert!(report.failures().next().is_none(), "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_statement_stays_refused_in_other_words() -> Result<()> {
    reworded(20_261_122, 4_000, 60).await?.sound()
}
