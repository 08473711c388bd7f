//! Failed logins and wrong cancel requests, by where they come from. Nobody who does things right is ever counted.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::rate::{Limiter, network};

/// How many names of shut-out callers are remembered before those whose time is over are forgotten.
const TIDY: usize = 1024;
/// A name longer than this is no user's.
const NAME: usize = 64;

/// What one door, or all of them, has seen going wrong.
#[derive(Debug)]
pub struct Attempts {
    endpoint: Failures<(IpAddr, String)>,
    logins: Failures<IpAddr>,
    cancels: Failures<IpAddr>,
}

impl Default for Attempts {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            // A wrong password for one user name: a person's typing errors, not a search.
            endpoint: Failures::new(Limiter::slow(number(5), number(10))),
            // All names together: what a runner with many broken jobs may produce.
            logins: Failures::new(Limiter::slow(number(300), number(300))),
            // Old clients' cancel keys have 32 bits.
            cancels: Failures::new(Limiter::new(number(20), number(100))),
        }
    }
}

impl Attempts {
    /// How long this address must wait before it may try to log in as `user`, known or not.
    pub fn login(&self, peer: IpAddr, user: &str) -> Result<(), Duration> {
        let peer = network(peer);
        self.logins.open(&peer)?;
        self.endpoint.open(&(peer, short(user)))
    }

    /// A login failed.
    pub fn login_failed(&self, peer: IpAddr, user: &str) {
        let peer = network(peer);
        self.logins.failed(peer);
        self.endpoint.failed((peer, short(user)));
    }

    /// Whether a cancel request from this address is looked at.
    pub fn cancel(&self, peer: IpAddr) -> bool {
        self.cancels.open(&network(peer)).is_ok()
    }

    /// A cancel request named nothing that runs.
    pub fn cancel_failed(&self, peer: IpAddr) {
        self.cancels.failed(network(peer));
    }
}

fn short(user: &str) -> String {
    user.chars().take(NAME).collect()
}

/// A rate of failures, and who has used it up.
#[derive(Debug)]
struct Failures<K: Hash + Eq + Clone> {
    rate: Limiter<K>,
    shut: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq + Clone> Failures<K> {
    fn new(rate: Limiter<K>) -> Self {
        Self {
            rate,
            shut: Mutex::default(),
        }
    }

    fn open(&self, caller: &K) -> Result<(), Duration> {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        let left = shut
            .get(caller)
            .map(|until| until.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero()).map_or(Ok(()), Err)
    }

    fn failed(&self, caller: K) {
        let Err(wait) = self.rate.take(&caller) else {
            return;
        };
        let now = Instant::now();
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        if shut.len() >= TIDY {
            shut.retain(|_, until| *until > now);
        }
        shut.insert(caller, now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_shut_one_name_out_and_leave_the_others() {
        let attempts = Attempts::default();
        let (here, there): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..10 {
            attempts.login_failed(here, "grant_a");
        }
        assert_eq!(attempts.login(here, "grant_a"), Ok(()));
        attempts.login_failed(here, "grant_a");
        assert!(attempts.login(here, "grant_a").is_err());
        assert_eq!(attempts.login(here, "grant_b"), Ok(()));
        assert_eq!(attempts.login(there, "grant_a"), Ok(()));
        for number in 0..300 {
            attempts.login_failed(here, &format!("grant_{number}"));
        }
        assert!(attempts.login(here, "grant_b").is_err(), "the address as a whole");
        assert_eq!(attempts.login(there, "grant_b"), Ok(()));
    }

    #[test]
    fn guessed_cancel_keys_shut_the_address_out() {
        let attempts = Attempts::default();
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..100 {
            assert!(attempts.cancel(here));
            attempts.cancel_failed(here);
        }
        while attempts.cancel(here) {
            attempts.cancel_failed(here);
        }
        assert!(attempts.cancel("192.0.2.2".parse().unwrap()));
    }
}
