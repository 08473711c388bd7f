//! Rates per caller: how often somebody may do something before having to wait.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// How many takings lie between two rounds of forgetting quiet callers.
const TIDY: u32 = 4096;

/// A leaky bucket for every caller `K`.
#[derive(Debug)]
pub struct Limiter<K: Hash + Eq + Clone> {
    buckets: DefaultKeyedRateLimiter<K>,
    seen: AtomicU32,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// `burst` at once, then so many in a second.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::of(Quota::per_second(per_second).allow_burst(burst))
    }

    /// `burst` at once, then so many in a minute.
    pub fn slow(per_minute: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::of(Quota::per_minute(per_minute).allow_burst(burst))
    }

    fn of(quota: Quota) -> Self {
        Self {
            buckets: DefaultKeyedRateLimiter::keyed(quota),
            seen: AtomicU32::new(0),
        }
    }

    /// Takes one from the caller's bucket, or says how long until there is one.
    pub fn take(&self, caller: &K) -> Result<(), Duration> {
        if self.seen.fetch_add(1, Ordering::Relaxed) % TIDY == TIDY - 1 {
            self.buckets.retain_recent();
        }
        self.buckets
            .check_key(caller)
            .map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

/// The caller an address stands for; an IPv6 caller owns at least a /64, so that counts as one.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_network_is_one_caller() {
        let ip = |text: &str| network(text.parse().unwrap());
        assert_eq!(ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff::9"));
        assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }

    #[test]
    fn an_empty_bucket_says_how_long() {
        let rate = Limiter::slow(NonZeroU32::MIN, NonZeroU32::MIN);
        assert_eq!(rate.take(&"a"), Ok(()));
        let wait = rate.take(&"a").unwrap_err();
        assert!(
            wait > Duration::from_secs(50) && wait <= Duration::from_secs(60),
            "{wait:?}"
        );
        assert_eq!(rate.take(&"b"), Ok(()));
    }
}
