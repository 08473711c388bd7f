//! R6: refused statements in other words stay refused, and none of their bytes goes upstream.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Aim, Report, Rng, Score};
use crate::corpus::mutate::Mutator;
use crate::corpus::print::Left;
use crate::corpus::wire::{Mode, send};
use crate::corpus::{Corpus, Ground, Judge, Layer};

/// `judged` mutations through reading and judging in this process, `sent` of them through an endpoint.
pub async fn reworded(seed: u64, judged: u64, sent: u64) -> Result<Report> {
    let corpus = Corpus::own()?;
    let ground = Ground::start(&corpus, 1, Layer::Proxy).await?;
    let judge = ground.judge().await?;
    let refused: Vec<(String, String)> = corpus
        .cases
        .iter()
        .filter(|case| case.is_attack() && !case.sql.is_empty())
        .map(|case| (case.id.clone(), ground.fill(&case.sql)))
        .filter(|(_, sql)| judge.refuses(sql).is_some())
        .collect();
    let mutator = Mutator::new(&judge.snapshot);
    let mut scores = vec![in_process(seed, judged, &refused, &mutator, &judge)];
    scores.push(on_the_wire(seed, sent, &refused, (&mutator, &judge), &ground).await?);
    Ok(Report { scores })
}

fn in_process(seed: u64, count: u64, refused: &[(String, String)], mutator: &Mutator, judge: &Judge) -> Score {
    let mut score = Score::new(
        "R6",
        "refused statements in other words, judged",
        Aim::of(10_000),
        Aim::of(100_000),
    );
    let workers = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let found: Vec<Vec<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let mut wrong = Vec::new();
                    for number in (worker..count).step_by(workers as usize) {
                        let mut rng = Rng::new(seed).part(number);
                        let (id, sql) = &refused[rng.below(refused.len() as u64) as usize];
                        let text = mutator.mutate(sql, &mut rng);
                        if judge.refuses(&text).is_none() {
                            wrong.push(format!("{id}, mutation {number}: {text:?}"));
                        }
                    }
                    wrong
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a worker does not panic"))
            .collect()
    });
    score.n = count;
    score.violations = found.into_iter().flatten().collect();
    score
}

async fn on_the_wire(
    seed: u64,
    count: u64,
    refused: &[(String, String)],
    (mutator, judge): (&Mutator, &Judge),
    ground: &Ground,
) -> Result<Score> {
    let mut score = Score::new(
        "R6",
        "refused statements in other words, sent in every way; no byte of them goes upstream",
        Aim::of(100),
        Aim::of(1_000),
    );
    let mut plot = ground.plot(0).await?;
    let mut ways: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..count {
        let mut rng = Rng::new(seed ^ 0x7072_6f76).part(number);
        let (id, sql) = &refused[rng.below(refused.len() as u64) as usize];
        let canary = format!("hoop-canary-{number}-{}", rng.number());
        let text = mutator.mark(&mutator.mutate(sql, &mut rng), &canary);
        let mode = [Mode::Simple, Mode::Extended, Mode::Pipeline][rng.below(3) as usize];
        *ways.entry(format!("{mode:?}")).or_default() += 1;
        plot.tap.clear();
        let mut peer = plot.job().await?;
        let received = send(&mut peer, mode, &text, None).await?;
        let _gone = peer.send(&crate::raw::frame('X', b"")).await;
        // What stands before the refused statement may have run; it was rolled back.
        let refused = judge.refused(&text).unwrap_or(&text);
        let tapped = plot.tap.saw(refused.as_bytes()) || (refused.contains(&canary) && plot.tap.saw(canary.as_bytes()));
        score.check(!received.errors.is_empty(), || format!("{id}: no error: {text:?}"));
        if tapped {
            score.wrong(format!("{id}: went upstream: {text:?}"));
        }
        if number % 20 == 19 || number + 1 == count {
            let left = plot.reset().await?;
            if left != Left::Nothing {
                score.wrong(format!("the mutations up to {number} left {left:?}"));
            }
        }
    }
    score.what += &format!(" ({ways:?})");
    Ok(score)
}
