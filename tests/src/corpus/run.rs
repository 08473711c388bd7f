//! Trying the cases, several plots side by side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;

use super::case::{Case, Corpus, Expect};
use super::ground::{Ground, Plot};
use super::judge::Judge;
use super::layer::Layer;
use super::print::Left;
use super::proto;
use super::report::{LEAKED, Line, Outcome, Report};
use super::steps;
use super::wire::{self, Mode, Received};

/// What no job may receive: the fixture's secrets, and the word that attacks put together.
const SECRET: &str = r"tok-SECRET|[0-9]{3}-[0-9]{2}-[0-9]{4}|[a-z]+\.secret@corp|LEAK";
/// A statement that was let through and took longer than this has slept.
const SLOW: Duration = Duration::from_millis(250);

/// How the cases are tried.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many at the same time.
    pub plots: usize,
    /// Only cases whose name contains this.
    pub only: String,
    /// The ways in which each is sent.
    pub modes: &'static [Mode],
    /// Who stands between the cases and the database.
    pub layer: Layer,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plots: 3,
            only: String::new(),
            modes: Mode::ALL,
            layer: Layer::Both,
        }
    }
}

/// Tries every case.
pub async fn run(corpus: &Corpus, options: &Options) -> Result<Report> {
    let ground = Ground::start(corpus, options.plots, options.layer).await?;
    let judge = ground.judge().await?;
    let cases: Vec<(usize, &Case)> = corpus
        .cases
        .iter()
        .enumerate()
        .filter(|(_, case)| case.id.contains(&options.only))
        .filter(|(_, case)| options.layer != Layer::Nobody || (case.is_attack() && case.proto.is_none()))
        .collect();
    let (next, lines) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = (0..options.plots).map(|number| {
        let (ground, judge, cases, next, lines) = (&ground, &judge, &cases, &next, &lines);
        async move {
            let mut plot = ground.plot(number).await?;
            while let Some((at, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (outcome, ways) = match try_case(&mut plot, case, options.modes, judge).await {
                    Ok(done) => done,
                    Err(error) => {
                        plot.site.renew().await?;
                        plot.twin.renew().await?;
                        (Outcome::Failed(format!("not judged: {error:#}")), 0)
                    }
                };
                lines.lock().expect("no worker panics").push(Line {
                    at: *at,
                    id: case.id.clone(),
                    group: case.group.clone(),
                    why: case.why.clone(),
                    attack: case.is_attack(),
                    outcome,
                    ways,
                });
            }
            anyhow::Ok(())
        }
    });
    try_join_all(workers).await?;
    let mut lines = lines.into_inner().expect("no worker panics");
    lines.sort_by_key(|line| line.at);
    Ok(Report {
        lines,
        layer: options.layer,
    })
}

async fn try_case(plot: &mut Plot<'_>, case: &Case, modes: &[Mode], judge: &Judge) -> Result<(Outcome, usize)> {
    // An older server cannot be set up for it, and cannot do what is honest on a newer one. Attacks are tried all the same.
    let nobody = plot.ground.layer == Layer::Nobody;
    if too_old(plot, case) && (case.setup.is_some() || !case.is_attack() || nobody) {
        return Ok((Outcome::Skipped, 0));
    }
    if nobody {
        return works(plot, case).await;
    }
    if let Some(setup) = &case.setup {
        let setup = plot.ground.fill(setup);
        plot.site.superuser(&setup).await?;
        plot.twin.superuser(&setup).await?;
        // The roles follow the schema, so the prints are taken after them.
        plot.seen().await?;
        plot.twin.accept().await?;
    }
    let done = match (&case.proto, case.expect) {
        (Some(name), _) => (script(plot, case, name).await?, 1),
        (None, _) if case.steps.is_some() => (conversation(plot, case, judge).await?, 1),
        (None, Expect::Deny | Expect::Mask) => attack(plot, case, modes, judge).await?,
        (None, Expect::Allow | Expect::Intact) => honest(plot, case, modes, judge).await?,
    };
    if case.setup.is_some() {
        plot.site.renew().await?;
        plot.twin.renew().await?;
        plot.seen().await?;
    }
    Ok(done)
}

/// The server lacks what the case needs.
fn too_old(plot: &Plot<'_>, case: &Case) -> bool {
    case.min_pg.is_some_and(|version| plot.ground.version < version)
}

async fn script(plot: &mut Plot<'_>, case: &Case, name: &str) -> Result<Outcome> {
    let Some(played) = proto::play(plot, name).await? else {
        return Ok(Outcome::Skipped);
    };
    if let Some(reason) = played.worked {
        plot.reset().await?;
        return Ok(Outcome::Failed(reason));
    }
    if let Some(reason) = effect(plot, case, &played.received).await? {
        return Ok(Outcome::Failed(reason));
    }
    if plot.ground.layer.judges() {
        crate::raw::served(&plot.ground.house, &plot.grant).await?;
    }
    Ok(if played.received.denied {
        Outcome::Refused
    } else {
        Outcome::WithoutEffect
    })
}

/// An attack that nobody stops. It is one when its check, its marker or a secret says so.
async fn works(plot: &mut Plot<'_>, case: &Case) -> Result<(Outcome, usize)> {
    let mut seen = String::new();
    for (mode, ways) in Mode::PLAIN.iter().zip(1..) {
        if let Some(setup) = &case.setup {
            plot.site.superuser(&plot.ground.fill(setup)).await?;
        }
        let mut peer = plot.job().await?;
        let received = match &case.steps {
            Some(steps) => steps::play(plot.ground, &plot.site, &mut peer, steps).await?,
            None => {
                let sql = steps::fill(plot.ground, &plot.site, &case.sql).await?;
                wire::send(&mut peer, *mode, &sql, case.copy_in.as_deref()).await?
            }
        };
        let _gone = peer.send(&crate::raw::frame('X', b"")).await;
        let worked = told(plot, case, &received).await?;
        plot.reset().await?;
        if worked.is_some() {
            return Ok((Outcome::Fine, ways));
        }
        seen = received.text.chars().take(300).collect();
    }
    let reason = format!("it has no effect with nobody in between either: {seen:?}");
    Ok((Outcome::Failed(reason), Mode::PLAIN.len()))
}

/// A case of the wire, message by message.
async fn conversation(plot: &mut Plot<'_>, case: &Case, judge: &Judge) -> Result<Outcome> {
    let steps = case.steps.as_deref().unwrap_or_default();
    let mut peer = plot.job().await?;
    let received = steps::play(plot.ground, &plot.site, &mut peer, steps).await?;
    let _gone = peer.send(&crate::raw::frame('X', b"")).await;
    let seen: String = received.text.chars().take(300).collect();
    if !case.is_attack() {
        let left = plot.reset().await?;
        let owner = steps::texts(steps).find_map(|sql| judge.owner(sql));
        if !plot.ground.layer.judges() && (case.expect == Expect::Intact || owner.is_some()) {
            return Ok(Outcome::Fine);
        }
        let mut peer = plot.beside(owner.as_deref()).await?;
        let expected = steps::play(plot.ground, &plot.twin, &mut peer, steps).await?;
        let _gone = peer.send(&crate::raw::frame('X', b"")).await;
        let left_directly = plot.twin.reset().await?;
        if received.denied || received.results != expected.results || left != left_directly {
            let reason = format!(
                "without it the answer is {:?} and leaves {left_directly:?} ({left:?}); received {seen:?}",
                expected.results
            );
            return Ok(Outcome::Failed(reason));
        }
        return Ok(Outcome::Fine);
    }
    if let Some(reason) = effect(plot, case, &received).await? {
        return Ok(Outcome::Failed(format!("{reason}; received {seen:?}")));
    }
    if plot.ground.layer.judges() {
        crate::raw::served(&plot.ground.house, &plot.grant).await?;
    }
    Ok(if plot.refused(&received) {
        Outcome::Refused
    } else {
        Outcome::WithoutEffect
    })
}

/// An attack, in every way: none may have an effect. Where columns are masked, one that has to be answered is.
async fn attack(plot: &mut Plot<'_>, case: &Case, modes: &[Mode], judge: &Judge) -> Result<(Outcome, usize)> {
    let sql = steps::fill(plot.ground, &plot.site, &case.sql).await?;
    // What calls a function that the policy does not name is not about masks; roles alone rewrite nothing; an older
    // server cannot answer.
    let answered = case.expect == Expect::Mask
        && !too_old(plot, case)
        && plot.ground.layer.judges()
        && judge.masks()
        && judge.refuses(&sql) != Some("function-not-allowed");
    let mut refused = true;
    let mut ways = 0;
    for mode in modes {
        let Some(text) = mode.wrap(&sql) else {
            continue;
        };
        ways += 1;
        let received = job(plot, *mode, &text, case).await?;
        refused &= received.denied;
        let worked = match effect(plot, case, &received).await? {
            None if case.expect == Expect::Mask
                && !(plot.ground.layer.judges() && judge.masks())
                && !plot.refused(&received) =>
            {
                Some("it was not refused".to_owned())
            }
            None if answered && is_plain(*mode) && !received.answered() => Some("it was not answered".to_owned()),
            // What the broker refused must not have reached the server, in whole.
            None if received.denied && !received.limited && text.len() > 20 && plot.tap.saw(text.as_bytes()) => {
                Some("its text went upstream".to_owned())
            }
            found => found,
        };
        if let Some(reason) = worked {
            let seen: String = received.text.chars().take(300).collect();
            let reason = format!("{mode:?}: {reason}; sent {text:?}; received {seen:?}");
            return Ok((Outcome::Failed(reason), ways));
        }
    }
    let outcome = match refused {
        true => Outcome::Refused,
        false if answered => Outcome::Fine,
        false => Outcome::WithoutEffect,
    };
    Ok((outcome, ways))
}

/// As it is written.
fn is_plain(mode: Mode) -> bool {
    matches!(mode, Mode::Simple | Mode::Extended | Mode::Pipeline)
}

async fn job(plot: &Plot<'_>, mode: Mode, text: &str, case: &Case) -> Result<Received> {
    plot.tap.clear();
    let mut peer = plot.job().await?;
    let received = wire::send(&mut peer, mode, text, case.copy_in.as_deref())
        .await
        .with_context(|| format!("{mode:?}, with {}", plot.ground.layer))?;
    let _gone = peer.send(&crate::raw::frame('X', b"")).await;
    Ok(received)
}

/// Whether an attack worked, and how one can tell. Afterwards the database is as at the start.
async fn effect(plot: &mut Plot<'_>, case: &Case, received: &Received) -> Result<Option<String>> {
    let found = told(plot, case, received).await?;
    Ok(match plot.reset().await? {
        Left::Nothing => found,
        Left::Rows => found.or(Some("rows were changed".to_owned())),
        Left::Schema => found.or(Some("the schema was changed".to_owned())),
    })
}

/// What the check, the marker and the secrets say.
async fn told(plot: &Plot<'_>, case: &Case, received: &Received) -> Result<Option<String>> {
    let mut found = None;
    if let Some(check) = &case.check
        && plot.site.value(&plot.ground.fill(check)).await?.as_deref() == Some("t")
    {
        found = Some("the check says that it worked".to_owned());
    }
    let text = format!("{}{}", received.text, String::from_utf8_lossy(&received.bytes));
    if plot.site.matches(&text, SECRET).await? {
        found = Some(LEAKED.to_owned());
    }
    match case.marker.as_deref() {
        None | Some("NEVER") => {}
        Some("NOERR") => {
            if received.errors.is_empty() {
                found = Some("no error was received".to_owned());
            }
        }
        // PostgreSQL's refusal repeats the names that the attack said, and takes as long as the machine is busy.
        Some(_) if plot.ground.layer.is_roles_alone() && received.is_only_refusal() => {}
        Some("SLOW") => {
            if !received.denied && received.took > SLOW {
                found = Some(format!("it took {:?}", received.took));
            }
        }
        Some(marker) => {
            if plot.site.matches(&received.text, marker).await? {
                found = Some(format!("the marker {marker:?} was received"));
            }
        }
    }
    Ok(found)
}

/// An honest statement gives what it gives without a broker; where it may be refused, it has no effect then. Without a
/// broker in between it gives a grant's login what it gives a superuser.
async fn honest(plot: &mut Plot<'_>, case: &Case, modes: &[Mode], judge: &Judge) -> Result<(Outcome, usize)> {
    let sql = steps::fill(plot.ground, &plot.site, &case.sql).await?;
    let owner = judge.owner(&sql);
    let mut ways = 0;
    for mode in modes.iter().copied().filter(|mode| is_plain(*mode)) {
        ways += 1;
        let received = job(plot, mode, &sql, case).await?;
        let harmed = match &case.check {
            Some(check) => plot.site.value(&plot.ground.fill(check)).await?.as_deref() == Some("t"),
            None => false,
        };
        // Where a statement decides what the next one means, they are sent one by one.
        let statements = wire::split(&sql);
        let whole = plot.tap.saw(sql.trim().as_bytes()) || statements.iter().all(|one| plot.tap.saw(one.as_bytes()));
        let left = plot.reset().await?;
        let refused = received.denied || received.errors.iter().any(|state| state == "closed");
        let failed = |reason: String| {
            let seen: String = received.text.chars().take(300).collect();
            Ok((
                Outcome::Failed(format!("{mode:?}: {reason}; sent {sql:?}; received {seen:?}")),
                ways,
            ))
        };
        if harmed {
            return failed("the check says that it did harm".to_owned());
        }
        if refused && case.expect == Expect::Allow {
            return failed("it was refused".to_owned());
        }
        if refused {
            if left != Left::Nothing {
                return failed("it was refused, and had an effect".to_owned());
            }
            continue;
        }
        if !plot.ground.layer.judges() && (case.expect == Expect::Intact || owner.is_some()) {
            // Roles may refuse what the policy does not name; and what runs as an owner is the broker's alone.
            continue;
        }
        if mode == Mode::Simple
            && plot.ground.layer.judges()
            && !(whole || judge.replaces(&sql))
            && !received.errors.iter().any(|state| state == "42601")
        {
            return failed("what was sent is not what the server received".to_owned());
        }
        let mut direct = plot.beside(owner.as_deref()).await?;
        let twin_sql = steps::fill(plot.ground, &plot.twin, &case.sql).await?;
        let expected = wire::send(&mut direct, mode, &twin_sql, case.copy_in.as_deref()).await?;
        let _gone = direct.send(&crate::raw::frame('X', b"")).await;
        let left_directly = plot.twin.reset().await?;
        if received.results != expected.results || left != left_directly {
            return failed(format!(
                "without it the answer is {:?} and leaves {left_directly:?} ({left:?})",
                expected.results
            ));
        }
    }
    Ok((Outcome::Fine, ways))
}
