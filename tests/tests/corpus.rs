//! The corpus by its effect: with the proxy alone, with both enforcers, and with roles alone. And refused statements in
//! other words.

use anyhow::Result;
use tests::corpus::replay::replay;
use tests::corpus::survivors::{Survivor, explained, table, unexplained};
use tests::corpus::wire::Mode;
use tests::corpus::{Corpus, Layer, Options, Report, matrix, run};
use tests::prove::reworded::reworded;

/// The corpus, and what statements reach without naming it.
const FOLDERS: [&str; 2] = ["tests/corpus", "tests/corpus/reach"];

/// One of so many equal parts of a folder's cases: no test may take long on a busy machine.
type Part = (usize, usize);

const WHOLE: Part = (0, 1);

async fn tried(folder: &str, (part, parts): Part, layer: Layer, modes: &'static [Mode]) -> Result<Report> {
    let options = Options {
        plots: 4,
        modes,
        layer,
        ..Options::default()
    };
    let mut corpus = Corpus::read(&tests::house::root().join(folder))?;
    corpus.cases = corpus.cases.into_iter().skip(part).step_by(parts).collect();
    let cases = corpus.cases.len();
    let report = run(&corpus, &options).await?;
    assert_eq!(report.lines.len(), cases);
    Ok(report)
}

async fn holds(folder: &str, part: Part, layer: Layer, modes: &'static [Mode]) -> Result<()> {
    let report = tried(folder, part, layer, modes).await?;
    assert!(report.failures().next().is_none(), "{report}");
    assert!(report.lines.len() > 40, "{report}");
    Ok(())
}

/// A test per part.
macro_rules! in_parts {
    ($name:ident, $($part:ident $number:literal),+ of $parts:literal, $test:expr) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $part() -> Result<()> {
                    ($test)(($number, $parts)).await
                }
            )+
        }
    };
}

// `--bin corpus` tries all of it in every way; where that would take long, a part stands for the whole here.
//
// Each enforcement by itself: under `shared` the server would run anything, so that a hole in the reading shows; under
// `role` the same statements meet the roles, so that an honest one that they refuse shows.

in_parts!(
    no_attack_works_and_every_honest_statement_does,
    first 0, second 1, third 2 of 3,
    |part| holds(FOLDERS[0], part, Layer::Proxy, Mode::PLAIN)
);

in_parts!(
    nor_with_roles_behind_the_proxy,
    sample 1 of 3,
    |part| holds(FOLDERS[0], part, Layer::Both, &[Mode::Simple])
);

in_parts!(
    what_a_statement_reaches_without_naming_it_is_judged,
    first 0, second 1 of 2,
    |part| holds(FOLDERS[1], part, Layer::Proxy, Mode::PLAIN)
);

in_parts!(
    and_so_it_is_with_roles_behind_the_proxy,
    sample 1 of 3,
    |part| holds(FOLDERS[1], part, Layer::Both, &[Mode::Pipeline])
);

/// What roles alone do not stop is known, explained, and written down beside the cases.
async fn only_what_the_table_names_works(folder: &str, head: &str, title: &str) -> Result<()> {
    let report = tried(folder, WHOLE, Layer::Roles, &[Mode::Simple]).await?;
    let known = explained(&tests::house::root().join(folder))?;
    assert_eq!(unexplained(&report, &known), Vec::<String>::new(), "{report}");
    drift(
        &format!("{folder}/layers.md"),
        &format!("{head}\n{}", table(title, &report, &known)),
    )
}

/// What the table says that `hoop-db doctor` ends, ends.
async fn the_doctor_ends(folder: &str) -> Result<()> {
    let folder = tests::house::root().join(folder);
    let closed: Vec<Survivor> = explained(&folder)?.into_iter().filter(|known| known.doctor).collect();
    let mut corpus = Corpus::read(&folder)?;
    corpus
        .cases
        .retain(|case| closed.iter().any(|known| known.id == case.id));
    let options = Options {
        plots: 1,
        modes: &[Mode::Simple],
        layer: Layer::Cured,
        ..Options::default()
    };
    let report = run(&corpus, &options).await?;
    assert!(report.failures().next().is_none(), "{report}");
    assert_eq!(report.lines.len(), closed.len());
    assert!(!closed.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_enforcer_alone_stops_all_that_the_table_does_not_name() -> Result<()> {
    let head = include_str!("../corpus/layers.head.md");
    only_what_the_table_names_works(FOLDERS[0], head, "The corpus").await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_the_second_enforcer_with_what_a_statement_does_not_name() -> Result<()> {
    let head = "# What PostgreSQL's roles stop by themselves\n\n[The corpus' own table](../layers.md) says how to read this one.\n";
    only_what_the_table_names_works(FOLDERS[1], head, "What a statement reaches without naming it").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_public_may_do_the_doctor_ends() -> Result<()> {
    the_doctor_ends(FOLDERS[0]).await?;
    the_doctor_ends(FOLDERS[1]).await
}

async fn replays(workloads: &[&str], layer: Layer) -> Result<()> {
    let all = replay(workloads, layer).await?;
    assert_eq!(all.len(), workloads.len());
    let wrong: Vec<_> = all
        .iter()
        // A replay of errors would show nothing.
        .filter(|(_, replayed)| !replayed.wrong.is_empty() || replayed.fine * 10 < replayed.sent * 8)
        .collect();
    assert!(wrong.is_empty(), "{layer}: {wrong:#?}");
    Ok(())
}

/// Fresh attacks: none works, and every honest statement does.
async fn fresh(folder: &str, part: Part) -> Result<()> {
    fresh_under(folder, part, Layer::Proxy).await
}

async fn fresh_under(folder: &str, part: Part, layer: Layer) -> Result<()> {
    let report = tried(&format!("tests/corpus/fresh/{folder}"), part, layer, Mode::PLAIN).await?;
    assert!(report.failures().next().is_none(), "{report}");
    Ok(())
}

in_parts!(
    fresh_attacks_do_not_work,
    first 0, second 1, third 2, fourth 3, fifth 4, sixth 5, seventh 6, eighth 7 of 8,
    |part| fresh("", part)
);

in_parts!(
    nor_do_they_with_roles_behind_the_proxy,
    sample 3 of 8,
    |part| holds("tests/corpus/fresh", part, Layer::Both, &[Mode::Simple])
);

in_parts!(
    fresh_attacks_on_masks_do_not_work,
    first 0, second 1, third 2 of 3,
    |part| fresh("masks", part)
);

in_parts!(
    nor_do_they_where_the_database_keeps_the_masks,
    first 0, second 1, third 2, fourth 3, fifth 4, sixth 5 of 6,
    |part| fresh_under("masks", part, Layer::Both)
);

// Newer grammar, and names that change under a prepared statement.
in_parts!(
    fresh_attacks_at_the_edges_do_not_work,
    first 0, second 1 of 2,
    |part| fresh("edge", part)
);

in_parts!(
    nor_do_those_with_roles_behind_the_proxy,
    first 0, second 1 of 2,
    |part| fresh_under("edge", part, Layer::Both)
);

// Migrations, ETL, ORMs and drivers, under the rules that their author would write.
in_parts!(
    what_tools_send_passes,
    first 0, second 1, third 2, fourth 3, fifth 4 of 5,
    |part| fresh("tools", part)
);

in_parts!(
    and_passes_with_roles_behind_the_proxy,
    sample 2 of 5,
    |part| holds("tests/corpus/fresh/tools", part, Layer::Both, &[Mode::Simple])
);

#[tokio::test(flavor = "multi_thread")]
async fn fresh_migrations_of_masked_tables_show_nothing() -> Result<()> {
    fresh("mask-ddl", WHOLE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_attacks_on_limits_do_not_work() -> Result<()> {
    fresh("limits", WHOLE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_attacks_on_read_only_do_not_work() -> Result<()> {
    fresh("read-only", WHOLE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_do_not_stop_honest_statements() -> Result<()> {
    fresh("extension", WHOLE).await
}

/// A sample; `--bin corpus -- DIR --layer none` shows it of each.
#[tokio::test(flavor = "multi_thread")]
async fn every_twentieth_fresh_attack_works_when_nobody_stops_it() -> Result<()> {
    for folder in ["", "limits", "read-only", "masks", "mask-ddl", "edge"] {
        let mut corpus = Corpus::read(&tests::house::root().join("tests/corpus/fresh").join(folder))?;
        corpus.cases.retain(|case| case.is_attack());
        corpus.cases = corpus.cases.into_iter().step_by(20).collect();
        let options = Options {
            layer: Layer::Nobody,
            ..Options::default()
        };
        let report = run(&corpus, &options).await?;
        assert!(report.failures().next().is_none(), "{report}");
        assert!(!report.lines.is_empty());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_workloads_end_as_they_do_without_a_broker() -> Result<()> {
    replays(&["alembic", "asyncpg", "knex"], Layer::Proxy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_that_of_django() -> Result<()> {
    replays(&["django"], Layer::Proxy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_workloads_end_so_with_roles_as_well() -> Result<()> {
    replays(&["alembic", "asyncpg", "knex"], Layer::Both).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_statement_stays_refused_in_other_words() -> Result<()> {
    reworded(20_261_122, 4_000, 60).await?.sound()
}

#[test]
fn the_matrix_of_classes_and_rules_is_as_committed() -> Result<()> {
    assert_eq!(matrix::missing(), []);
    drift("tests/corpus/matrix.md", &matrix::matrix()?)
}

/// The committed text is what comes out now.
fn drift(name: &str, now: &str) -> Result<()> {
    let path = tests::house::root().join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, now)?;
    }
    let committed = std::fs::read_to_string(&path)?;
    assert!(
        committed == now,
        "{} differs: UPDATE_EXPECTED=1 cargo test -p tests --test corpus, then look at the difference",
        path.display()
    );
    Ok(())
}
