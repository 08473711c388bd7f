//! Lifetimes and counts: the scope's, clipped to the ceiling's, with the line that set each.

use std::sync::Arc;
use std::time::Duration;

use super::ceiling::{Ceiling, DatabaseCeiling};
use super::diagnostic::{Report, Span, code};
use super::repository::{Placed, RawLimits};
use super::words::{LONGEST, show_duration};
use super::{Limit, Limits, Origin};

/// `ttl` of a scope that does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(15 * 60);
/// `max-connections` of a scope that does not say.
pub const DEFAULT_CONNECTIONS: u32 = 4;

/// Clips `raw`. `max-session` of a scope that does not say is its `ttl`; timeouts that neither side names are not set.
pub fn compile(
    raw: &RawLimits,
    scope: &Origin,
    bound: Option<(&Ceiling, &DatabaseCeiling)>,
    report: &mut Report,
) -> Limits {
    let none = RawLimits::default();
    let max = bound.map_or(&none, |(_, database)| &database.max);
    let mut clip = Clip {
        scope,
        ceiling: bound.map(|(ceiling, _)| (ceiling.name.as_str(), &ceiling.path)),
        report,
    };
    let ttl = clip.to("ttl", raw.ttl, max.ttl, DEFAULT_TTL, show_duration);
    let longest_session = Limit {
        value: LONGEST,
        origin: scope.clone(),
    };
    let max_session = match raw.max_session {
        None if max.max_session.is_none() => ttl.clone(),
        written => {
            let default = ttl.value.min(longest_session.value);
            clip.to("max-session", written, max.max_session, default, show_duration)
        }
    };
    // A ceiling may bound sessions below the ttl: nothing outlives the session's end.
    let ttl = if ttl.value > max_session.value {
        max_session.clone()
    } else {
        ttl
    };
    Limits {
        ttl,
        max_session,
        max_connections: clip.to(
            "max-connections",
            raw.max_connections,
            max.max_connections,
            DEFAULT_CONNECTIONS,
            |count| count.to_string(),
        ),
        statement_timeout: clip.timeout("statement-timeout", raw.statement_timeout, max.statement_timeout),
        lock_timeout: clip.timeout("lock-timeout", raw.lock_timeout, max.lock_timeout),
        idle_timeout: clip.timeout("idle-timeout", raw.idle_timeout, max.idle_timeout),
        max_rows: clip.count("max-rows", raw.max_rows, max.max_rows),
        max_bytes: clip.count("max-bytes", raw.max_bytes, max.max_bytes),
        max_affected_rows: clip.count("max-affected-rows", raw.max_affected_rows, max.max_affected_rows),
        read_only: clip.read_only(raw.read_only, max.read_only),
        no_where: clip.line(raw.no_where, max.no_where),
    }
}

struct Clip<'a> {
    scope: &'a Origin,
    ceiling: Option<(&'a str, &'a Arc<str>)>,
    report: &'a mut Report,
}

impl Clip<'_> {
    fn to<T: Copy + PartialOrd>(
        &mut self,
        key: &str,
        written: Option<Placed<T>>,
        max: Option<Placed<T>>,
        default: T,
        show: impl Fn(T) -> String,
    ) -> Limit<T> {
        let (value, origin) = match written {
            Some((value, span)) => (value, span.origin(self.report.path())),
            None => (default, self.scope.clone()),
        };
        let Some(((most, span), (name, path))) = max.zip(self.ceiling) else {
            return Limit { value, origin };
        };
        if value <= most {
            return Limit { value, origin };
        }
        let bound = span.origin(path);
        if let Some((_, written)) = written {
            let message = format!("`{key}` is clipped from {} to {}", show(value), show(most));
            let help = format!("the ceiling `{name}` sets it at {bound}");
            self.report.warn(code::LIMIT_CLIPPED, written, message, help);
        }
        Limit {
            value: most,
            origin: bound,
        }
    }

    fn timeout(
        &mut self,
        key: &str,
        written: Option<Placed<Duration>>,
        max: Option<Placed<Duration>>,
    ) -> Option<Limit<Duration>> {
        (written.is_some() || max.is_some()).then(|| self.to(key, written, max, LONGEST, show_duration))
    }

    /// A count that neither side has to name: then there is no limit.
    fn count(&mut self, key: &str, written: Option<Placed<u64>>, max: Option<Placed<u64>>) -> Option<Limit<u64>> {
        (written.is_some() || max.is_some()).then(|| self.to(key, written, max, u64::MAX, |count| count.to_string()))
    }

    /// The line that forbids writing: the scope's own, else the ceiling's. A scope cannot lift the ceiling's.
    fn read_only(&mut self, written: Option<Placed<bool>>, max: Option<Placed<bool>>) -> Option<Origin> {
        let demanded = |flag: Option<Placed<bool>>| flag.filter(|(on, _)| *on).map(|(_, span)| span);
        let line = self.line(demanded(written), demanded(max));
        if let (Some((false, span)), Some(line)) = (written, &line) {
            let message = "`read-only: false` is overruled";
            self.report.warn(
                code::LIMIT_CLIPPED,
                span,
                message,
                format!("the ceiling says read-only at {line}"),
            );
        }
        line
    }

    /// The line that sets a switch: the scope's own, else the ceiling's.
    fn line(&self, written: Option<Span>, max: Option<Span>) -> Option<Origin> {
        match (written, max.zip(self.ceiling)) {
            (Some(span), _) => Some(span.origin(self.report.path())),
            (None, Some((span, (_, path)))) => Some(span.origin(path)),
            (None, None) => None,
        }
    }
}
