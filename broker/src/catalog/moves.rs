//! Who is changing what masks stand on, and who has statements under way that rest on it.
//!
//! Where the database keeps masks, a statement is pointed at a view that was made for one schema. DDL on a masked table
//! takes its views along, and makes others in the same transaction; other sessions learn their names a moment later. In
//! between, a session that would read a masked table waits, and what was sent before is let through first. So is who
//! waited for the change before: a migration of many changes starves nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::Catalogs;
use crate::upstream::Target;

/// How long a statement waits for masks. Afterwards it is sent, and the server, which knows who waits for whom, says what
/// becomes of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long DDL waits for others, of each once. A statement that runs longer has its locks since long.
const COURTESY: Duration = Duration::from_secs(2);

/// Views that went, as far as they are remembered.
const MAX_GONE: usize = 10_000;

/// Names of views.
pub type Views = BTreeSet<String>;

/// As whom a schema is looked at.
type Eyes = Option<Arc<str>>;

/// The moves of one database.
#[derive(Debug)]
pub(super) struct Moves {
    state: watch::Sender<State>,
    news: Arc<News>,
}

/// Calls for the schema to be read again.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Soon.
    pub soon: Notify,
    /// At once: somebody waits.
    pub now: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What the transactions of sessions take along.
    moving: BTreeMap<u64, Views>,
    /// What went, and when that was over.
    gone: HashMap<String, Instant>,
    /// Counts beginnings and ends of moves.
    turn: u64,
    /// When the reading of the schema in force began.
    read: HashMap<Eyes, Instant>,
    /// Sessions with statements under way that rest on views.
    busy: BTreeSet<u64>,
    /// Those among them that somebody has waited for long enough.
    slow: BTreeSet<u64>,
    /// Sessions that wait for a schema.
    waiting: BTreeSet<u64>,
    seats: u64,
}

impl State {
    /// True when whoever knows of these views knows the schema that has them. Who takes along what is in `holds` waits for
    /// its holder, and not the other way round.
    fn is_settled(&self, eyes: &Eyes, views: &Views, holds: &Views) -> bool {
        let known = |gone: &Instant| self.read.get(eyes).is_some_and(|read| read > gone);
        let mut moving = self.moving.values();
        let taken = moving.any(|moving| !moving.is_disjoint(views) && moving.is_disjoint(holds));
        !taken && views.iter().all(|view| self.gone.get(view).is_none_or(known))
    }

    fn over(&mut self, views: Views) {
        self.turn += 1;
        if self.gone.len() + views.len() > MAX_GONE {
            self.gone.clear();
        }
        let now = Instant::now();
        self.gone.extend(views.into_iter().map(|view| (view, now)));
    }
}

impl Moves {
    pub(super) fn new(news: Arc<News>) -> Self {
        Self {
            state: watch::Sender::default(),
            news,
        }
    }

    /// Has the schema read again.
    fn call(&self) {
        self.news.soon.notify_one();
        if !self.state.borrow().waiting.is_empty() {
            self.news.now.notify_one();
        }
    }

    /// A schema whose reading began then is in force.
    pub(super) fn read(&self, eyes: Eyes, began: Instant) {
        self.state.send_modify(|state| {
            state.read.insert(eyes, began);
        });
    }
}

/// A session's place among those of its database.
#[derive(Debug)]
pub struct Seat {
    moves: Arc<Moves>,
    eyes: Eyes,
    number: u64,
    busy: bool,
    /// Its transaction takes views along.
    moving: bool,
    /// It has waited: whoever changes something now lets it send first.
    first: bool,
    /// The turn that this session has waited for in vain.
    given_up: Option<u64>,
}

impl Catalogs {
    /// A place for a session.
    pub fn seat(&self, target: &Target) -> Seat {
        let moves = self.moves(&target.name);
        let mut number = 0;
        moves.state.send_if_modified(|state| {
            state.seats += 1;
            number = state.seats;
            false
        });
        Seat {
            moves,
            eyes: target.role().cloned(),
            number,
            busy: false,
            moving: false,
            first: false,
            given_up: None,
        }
    }
}

impl Seat {
    /// True when a statement that rests on these views may be sent: from now on it counts as under way. The session's
    /// transaction has read what is in `holds`.
    pub fn may_send(&mut self, views: &Views, holds: &Views) -> bool {
        if std::mem::take(&mut self.first) {
            return true;
        }
        let mut may = false;
        self.moves.state.send_if_modified(|state| {
            may = self.moving || state.is_settled(&self.eyes, views, holds) || self.given_up == Some(state.turn);
            if may {
                state.busy.insert(self.number);
            }
            false
        });
        self.busy |= may;
        may
    }

    /// Everything that was sent has been answered.
    pub fn rests(&mut self) {
        self.first = false;
        if std::mem::take(&mut self.busy) {
            self.moves.state.send_if_modified(|state| {
                state.busy.remove(&self.number);
                state.slow.remove(&self.number);
                !state.moving.is_empty()
            });
        }
    }

    /// What was to be sent is, after something of the broker's own.
    pub fn stays_first(&mut self) {
        self.first = self.busy;
    }

    /// Waits until the schema that is known has the views there are; not for ever.
    pub async fn settled(&mut self, views: &Views) {
        self.rests();
        let (number, eyes) = (self.number, self.eyes.clone());
        let waits = Waits::begin(&self.moves, number);
        let mut seen = self.moves.state.subscribe();
        let settled = seen.wait_for(|state| state.is_settled(&eyes, views, &Views::new()));
        let in_time = tokio::time::timeout(PATIENCE, settled).await.is_ok();
        self.moves.state.send_if_modified(|state| {
            if in_time {
                state.busy.insert(number);
            } else {
                self.given_up = Some(state.turn);
            }
            false
        });
        self.busy |= in_time;
        self.first = in_time;
        drop(waits);
    }

    /// This session is about to take these views along: who has waited, and whose statements are under way, comes first.
    pub async fn moves(&mut self, views: Views) {
        let mut seen = self.moves.state.subscribe();
        let waiting = seen.borrow().waiting.clone();
        let served = seen.wait_for(|state| !state.moving.is_empty() || state.waiting.is_disjoint(&waiting));
        drop(tokio::time::timeout(COURTESY, served).await);
        self.moving = true;
        let mut before = BTreeSet::new();
        self.moves.state.send_if_modified(|state| {
            state.turn += 1;
            state.moving.entry(self.number).or_default().extend(views);
            before = state.busy.difference(&state.slow).copied().collect();
            before.remove(&self.number);
            false
        });
        let done = seen.wait_for(|state| state.busy.is_disjoint(&before));
        if tokio::time::timeout(COURTESY, done).await.is_err() {
            self.moves.state.send_if_modified(|state| {
                state.slow.extend(before.intersection(&state.busy));
                false
            });
        }
    }

    /// The session's transaction is over, one way or the other.
    pub fn moved(&mut self) {
        if std::mem::take(&mut self.moving) {
            self.moves.state.send_modify(|state| {
                if let Some(views) = state.moving.remove(&self.number) {
                    state.over(views);
                }
            });
            self.moves.call();
        }
    }

    /// The server misses a view: somebody who is not known here took it along.
    pub fn misses(&self, views: Views) {
        self.moves.state.send_modify(|state| state.over(views));
        self.moves.call();
    }
}

/// A session that waits, for as long as it does.
struct Waits<'m> {
    moves: &'m Moves,
    number: u64,
}

impl<'m> Waits<'m> {
    fn begin(moves: &'m Moves, number: u64) -> Self {
        let mut still = true;
        moves.state.send_if_modified(|state| {
            state.waiting.insert(number);
            still = state.moving.is_empty();
            false
        });
        if still {
            moves.call();
        }
        Self { moves, number }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.moves.state.send_modify(|state| {
            state.waiting.remove(&self.number);
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.moved();
        self.rests();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Views {
        Views::from(["one".to_owned()])
    }

    fn seat(moves: &Arc<Moves>, number: u64) -> Seat {
        Seat {
            moves: moves.clone(),
            eyes: None,
            number,
            busy: false,
            moving: false,
            first: false,
            given_up: None,
        }
    }

    #[tokio::test]
    async fn who_changes_lets_through_what_was_sent_and_the_others_wait_for_what_it_makes() {
        let (moves, view, none) = (Arc::new(Moves::new(Arc::default())), one(), Views::new());
        let (mut reader, mut writer) = (seat(&moves, 1), seat(&moves, 2));
        assert!(reader.may_send(&view, &none));
        let mut changes = Box::pin(writer.moves(one()));
        assert!(futures_util::poll!(&mut changes).is_pending());
        assert!(!reader.may_send(&view, &none));
        // Whoever holds what is taken along is waited for.
        assert!(reader.may_send(&view, &view));
        // What nobody changes may be read.
        assert!(reader.may_send(&Views::from(["other".to_owned()]), &none));
        reader.rests();
        changes.await;
        assert!(writer.may_send(&view, &none));
        assert!(!reader.may_send(&view, &none));
        writer.moved();
        assert!(!reader.may_send(&view, &none));
        // Who waits comes before the next change.
        let mut waits = Box::pin(reader.settled(&view));
        assert!(futures_util::poll!(&mut waits).is_pending());
        let mut again = Box::pin(writer.moves(one()));
        assert!(futures_util::poll!(&mut again).is_pending());
        moves.read(None, Instant::now());
        waits.await;
        assert!(futures_util::poll!(&mut again).is_pending());
        assert!(reader.may_send(&view, &none));
        reader.rests();
        again.await;
        assert!(!reader.may_send(&view, &none));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let (moves, view, none) = (Arc::new(Moves::new(Arc::default())), one(), Views::new());
        let (mut reader, mut writer) = (seat(&moves, 1), seat(&moves, 2));
        assert!(reader.may_send(&view, &none));
        writer.moves(one()).await;
        reader.settled(&view).await;
        assert!(reader.may_send(&view, &none));
        // The next one is waited for again.
        writer.moved();
        assert!(!reader.may_send(&view, &none));
        drop(writer);
        let lost = seat(&moves, 3);
        lost.misses(one());
        assert!(!reader.may_send(&view, &none));
        moves.read(None, Instant::now());
        assert!(reader.may_send(&view, &none));
    }
}
