//! The corpus by its effect, and refused statements in other words: the proxy alone enforces.

use anyhow::Result;
use tests::corpus::wire::Mode;
use tests::corpus::{Corpus, Layer, Options, matrix, run};
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

#[test]
fn the_matrix_of_classes_and_rules_is_as_committed() -> Result<()> {
    assert_eq!(matrix::missing(), []);
    let path = tests::house::root().join("tests/corpus/matrix.md");
    let now = matrix::matrix()?;
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &now)?;
    }
    let committed = std::fs::read_to_string(&path)?;
    assert!(
        committed == now,
        "{} differs: UPDATE_EXPECTED=1 cargo test -p tests --test corpus, then look at the difference",
        path.display()
    );
    Ok(())
}
