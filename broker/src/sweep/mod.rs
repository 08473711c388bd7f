//! The reaper: ends what the clock has ended, brings totals to the store, forgets what is past keeping.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::base::clock::Clock;
use crate::grant::Grants;
use crate::store::Purge;

/// How late a grant may end.
const BEAT: Duration = Duration::from_millis(250);
/// How often totals travel and old rows go, in beats.
const HOUSEKEEPING: u32 = 20;
/// How much longer than necessary a used token is remembered: a wall clock that jumps ahead and back again must not
/// make an exchanged token look new.
const TOKEN_MARGIN: SignedDuration = SignedDuration::from_hours(3);
/// How long an ended grant answers `GET` and `DELETE`.
const KEEP_ENDED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Runs until `stop`, then brings the last totals home.
pub async fn run(grants: Arc<Grants>, clock: Clock, stop: CancellationToken) {
    let mut steady = Steady::new(clock.now(), Instant::now());
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut beats = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = beat.tick() => {}
        }
        let mono = Instant::now();
        let wall = steady.read(clock.now(), mono);
        let ended = grants.expire(wall, mono).await;
        // Without delay: until an ending is stored, a restart would bring the grant back.
        grants.write_endings().await;
        grants.retire_logins();
        beats = beats.wrapping_add(1);
        if ended > 0 || beats % HOUSEKEEPING == 1 {
            keep_house(&grants, wall, mono).await;
        }
    }
    if let Err(fault) = grants.flush_totals().await {
        tracing::error!(error = %fault, "the last totals were not stored");
    }
}

async fn keep_house(grants: &Grants, wall: Timestamp, mono: Instant) {
    if let Err(fault) = grants.flush_totals().await {
        tracing::error!(error = %fault, "totals were not stored");
    }
    grants.registry().forget_ended(mono);
    let before = |by| wall.checked_sub(by).unwrap_or(Timestamp::MIN);
    let purge = Purge {
        now: wall,
        kept_until_before: before(TOKEN_MARGIN),
        ended_before: before(KEEP_ENDED),
    };
    if let Err(fault) = grants.store().purge(purge).await {
        tracing::error!(error = %fault, "the state store was not tidied");
    }
}

/// A wall clock that never goes back: when the machine's does, the monotonic clock carries the time on.
#[derive(Debug)]
struct Steady {
    wall: Timestamp,
    mono: Instant,
}

impl Steady {
    fn new(wall: Timestamp, mono: Instant) -> Self {
        Self { wall, mono }
    }

    fn read(&mut self, wall: Timestamp, mono: Instant) -> Timestamp {
        let passed = SignedDuration::try_from(mono.saturating_duration_since(self.mono)).unwrap_or(SignedDuration::MAX);
        let carried = self.wall.checked_add(passed).unwrap_or(Timestamp::MAX);
        self.mono = mono;
        self.wall = carried.max(wall);
        self.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::GrantState;
    use crate::grant::testing::{House, START, ask};

    #[test]
    fn a_clock_set_back_is_carried_on() {
        let mono = Instant::now();
        let mut steady = Steady::new(START, mono);
        let later = |seconds| mono + Duration::from_secs(seconds);
        assert_eq!(
            steady.read(START - SignedDuration::from_hours(1), later(10)),
            START + SignedDuration::from_secs(10)
        );
        assert_eq!(
            steady.read(START + SignedDuration::from_hours(1), later(11)),
            START + SignedDuration::from_hours(1)
        );
    }

    #[tokio::test]
    async fn max_session_cuts_and_says_that_the_job_never_revoked() {
        let house = House::default();
        let minted = house.grants.open("good-1", &ask("migrate")).await.unwrap();
        let mut slot = house
            .grants
            .registry()
            .admit_session(&minted.grant, house.clock.now())
            .unwrap();
        let mono = Instant::now();

        // ttl has passed, but a session is open.
        let mut wall = START + SignedDuration::from_mins(16);
        assert_eq!(house.grants.expire(wall, mono).await, 0);
        wall = START + SignedDuration::from_mins(45);
        assert_eq!(house.grants.expire(wall, mono).await, 1);
        assert_eq!(house.grants.expire(wall, mono).await, 0, "once");

        let ending = slot.ended().await;
        assert_eq!(ending.reason, "max-session (.hoop/db-access.yaml:25) has passed");
        assert_eq!(house.audit.names(), ["grant.minted", "grant.expired_unrevoked"]);
        let (row, _) = house.store.grant(minted.grant.id).await.unwrap().unwrap();
        assert_eq!(row.ended.unwrap().kind, "expired");
    }

    #[tokio::test]
    async fn ttl_ends_a_grant_nobody_uses() {
        let house = House::default();
        let minted = house.grants.open("good-1", &ask("migrate")).await.unwrap();
        assert_eq!(
            house
                .grants
                .expire(START + SignedDuration::from_mins(14), Instant::now())
                .await,
            0
        );
        assert_eq!(
            house
                .grants
                .expire(START + SignedDuration::from_mins(15), Instant::now())
                .await,
            1
        );
        assert_ne!(*minted.grant.state.borrow(), GrantState::Active);
    }

    #[tokio::test]
    async fn the_monotonic_clock_ends_it_when_the_wall_clock_was_set_back() {
        let house = House::default();
        let minted = house.grants.open("good-1", &ask("migrate")).await.unwrap();
        let _slot = house
            .grants
            .registry()
            .admit_session(&minted.grant, house.clock.now())
            .unwrap();
        let wall = START - SignedDuration::from_hours(1);
        let mono = Instant::now() + Duration::from_mins(46);
        assert_eq!(house.grants.expire(wall, mono).await, 1);
    }

    #[tokio::test]
    async fn the_task_reaps_flushes_and_stops() {
        let house = House::default();
        let minted = house.grants.open("good-1", &ask("migrate")).await.unwrap();
        drop(
            house
                .grants
                .registry()
                .admit_session(&minted.grant, house.clock.now())
                .unwrap(),
        );
        house.clock.advance(SignedDuration::from_mins(20));
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(Arc::clone(&house.grants), house.clock.clone(), stop.clone()));
        let mut watch = minted.grant.state.subscribe();
        tokio::time::timeout(Duration::from_secs(5), watch.changed())
            .await
            .unwrap()
            .unwrap();
        stop.cancel();
        task.await.unwrap();
        let (_, totals) = house.store.grant(minted.grant.id).await.unwrap().unwrap();
        assert_eq!(totals.sessions, 1);
        let seen = house.store.live().await.unwrap().seen_at.unwrap();
        assert!(seen >= START + SignedDuration::from_mins(20));
    }
}
