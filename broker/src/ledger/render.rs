//! Sessions as text for a terminal. What a statement holds is shown, never obeyed: control bytes, terminal escapes and
//! characters that reorder or hide text come out as visible names.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;

use super::record::Counts;
use super::view::{Decided, SessionDetail, SessionSummary, State, Step};

/// `text` with everything a terminal would act on made visible. Line breaks and tabs are kept.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_hidden(letter) {
            // Writing into a string does not fail.
            let _infallible = match u32::from(letter) {
                code @ 0..=0xff => write!(shown, "\\x{code:02x}"),
                code => write!(shown, "<U+{code:04X}>"),
            };
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// As [`visible`], on one line.
pub fn one_line(text: &str) -> String {
    visible(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_hidden(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        _ => letter.is_control(),
    }
}

/// One line per session, with a heading.
pub fn list(out: &mut impl Write, sessions: &[SessionSummary]) -> io::Result<()> {
    if sessions.is_empty() {
        return writeln!(out, "no sessions");
    }
    writeln!(
        out,
        "{:<40} {:<20} {:>9} {:>6} {:>6} {:>9}  {:<28} STATE",
        "SESSION", "OPENED", "LASTED", "SENT", "DENIED", "ROWS", "REPOSITORY (SCOPE)"
    )?;
    for one in sessions {
        let lasted = one
            .closed_at
            .map_or_else(|| "-".to_owned(), |end| span(end - one.opened_at));
        let job = match (&one.repository, &one.scope) {
            (Some(repository), Some(scope)) => one_line(&format!("{repository} ({scope})")),
            _ => one.grant.to_string(),
        };
        writeln!(
            out,
            "{:<40} {:<20} {lasted:>9} {:>6} {:>6} {:>9}  {job:<28} {}",
            one.session.to_string(),
            time(one.opened_at),
            one.executions,
            one.denied,
            one.rows,
            state(one)
        )?;
    }
    Ok(())
}

/// One session: who, where, and every statement with its decision and outcome.
pub fn show(out: &mut impl Write, detail: &SessionDetail) -> io::Result<()> {
    let summary = &detail.summary;
    let mut facts: Vec<(&str, String)> = vec![
        ("session", summary.session.to_string()),
        ("grant", summary.grant.to_string()),
        ("opened", time(summary.opened_at)),
        ("state", state(summary)),
        ("client", summary.address.clone()),
    ];
    let mut fact = |name, value: Option<&str>| {
        if let Some(value) = value {
            facts.push((name, value.to_owned()));
        }
    };
    fact("application", summary.application.as_deref());
    if let Some(minted) = &detail.identity {
        fact("repository", Some(&minted.repository));
        fact("issuer", Some(&minted.issuer));
        fact("workflow", minted.workflow.as_deref());
        fact("run", minted.run_id.as_deref());
        fact("attempt", minted.run_attempt.as_deref());
        fact("job", minted.job_id.as_deref());
        fact("commit", minted.sha.as_deref());
        fact("actor", minted.actor.as_deref());
        fact("environment", minted.environment.as_deref());
        fact("scope", Some(&minted.scope));
        fact("database", Some(&minted.database));
        fact("enforcement", minted.enforcement.as_deref());
        fact("matched", Some(&minted.matched));
        fact("policy", Some(&minted.policy_sha));
    }
    for (name, value) in facts {
        writeln!(out, "{name:<12} {}", one_line(&value))?;
    }
    writeln!(
        out,
        "{:<12} {} sent, {} denied, {} failed, {} unknown, {} rows",
        "statements", summary.executions, summary.denied, summary.failed, summary.unknown, summary.rows
    )?;
    if !summary.masked.is_empty() {
        writeln!(out, "{:<12} {}", "masked", counted(&summary.masked))?;
    }
    if !summary.detected.is_empty() {
        writeln!(out, "{:<12} {}", "detected", counted(&summary.detected))?;
    }
    for step in &detail.steps {
        writeln!(out)?;
        write_step(out, summary.opened_at, step)?;
    }
    Ok(())
}

/// The statements again, each at its time. `pace` is called before each step with the time since the one before; a
/// caller that sleeps there replays at the session's own speed or any other.
pub fn replay(out: &mut impl Write, detail: &SessionDetail, mut pace: impl FnMut(Duration)) -> io::Result<()> {
    let start = detail.summary.opened_at;
    let mut before = start;
    for step in &detail.steps {
        pace(Duration::from_micros(u64::try_from(step.t - before).unwrap_or(0)));
        before = before.max(step.t);
        write_step(out, start, step)?;
        out.flush()?;
    }
    writeln!(out, "-- {}", state(&detail.summary))
}

fn write_step(out: &mut impl Write, start: i64, step: &Step) -> io::Result<()> {
    let when = span(step.t - start);
    let class = step.class.map_or("-", crate::sql::Class::as_str);
    match &step.decision {
        Decided::Allowed { rules } => {
            // What touches nothing, such as COMMIT, needs no rule.
            let by = if rules.is_empty() {
                String::new()
            } else {
                format!(" by {}", one_line(&rules.join(", ")))
            };
            writeln!(out, "+{when:<9} #{} {class}  allowed{by}", step.seq)?;
        }
        Decided::Denied { code, origin, .. } => {
            writeln!(
                out,
                "+{when:<9} #{} DENIED {} by {}",
                step.seq,
                one_line(code),
                one_line(origin)
            )?;
        }
    }
    for line in visible(&step.text).lines() {
        writeln!(out, "    {line}")?;
    }
    if let Some(cut) = &step.cut {
        writeln!(
            out,
            "    … cut: {} bytes in all, SHA-256 {}",
            cut.bytes,
            one_line(&cut.sha256)
        )?;
    }
    if let Some(count) = step.params {
        writeln!(out, "    with {count} parameters (values are not recorded)")?;
    }
    let ended = match (&step.decision, &step.outcome) {
        (Decided::Denied { asked, .. }, _) => format!("not sent: {}", one_line(asked)),
        (Decided::Allowed { .. }, None) => "no outcome yet".to_owned(),
        (Decided::Allowed { .. }, Some(ended)) => {
            let mut text = ended.status.as_str().to_owned();
            for part in [&ended.tag, &ended.sqlstate].into_iter().flatten() {
                text.push(' ');
                text.push_str(&one_line(part));
            }
            if let Some(rows) = ended.rows {
                // Writing into a string does not fail.
                let _infallible = write!(text, ", {rows} rows");
            }
            if !ended.masked.is_empty() {
                let _infallible = write!(text, ", masked {}", counted(&ended.masked));
            }
            if !ended.detected.is_empty() {
                let _infallible = write!(text, ", detected {}", counted(&ended.detected));
            }
            format!("{text}, {}", span(i64::try_from(ended.micros).unwrap_or(i64::MAX)))
        }
    };
    writeln!(out, "    -> {ended}")
}

/// `app.customers.email 3, app.customers.phone 3`.
fn counted(counts: &Counts) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{} {count}", one_line(name)));
    counts.collect::<Vec<_>>().join(", ")
}

fn state(summary: &SessionSummary) -> String {
    match &summary.state {
        State::Open => "open".to_owned(),
        State::Closed { why } => format!("closed: {}", one_line(why)),
        State::Lost => "lost: the broker died with it".to_owned(),
    }
}

fn time(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| format!("{time:.0}"))
}

/// A span of time, short: `12µs`, `3.4ms`, `1.20s`, `4m05s`, `2h03m`.
fn span(micros: i64) -> String {
    let micros = micros.max(0);
    let seconds = micros / 1_000_000;
    match micros {
        0..1_000 => format!("{micros}µs"),
        1_000..1_000_000 => format!("{}.{}ms", micros / 1_000, micros % 1_000 / 100),
        1_000_000..60_000_000 => format!("{seconds}.{:02}s", micros % 1_000_000 / 10_000),
        60_000_000..3_600_000_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::{GrantId, SessionId};
    use crate::ledger::record::{Entry, Record, Rules, Status};
    use crate::ledger::view::{Filter, Story, Summaries};
    use crate::sql::Class;

    #[test]
    fn nothing_a_terminal_obeys_gets_through() {
        let hostile = "a\u{1b}[2J\r\u{7}\u{9b}31m\u{202e}gnp\u{200b}\u{feff}\u{0}b\tc\nd é 漢";
        let shown = visible(hostile);
        assert_eq!(
            shown,
            "a\\x1b[2J\\x0d\\x07\\x9b31m<U+202E>gnp<U+200B><U+FEFF>\\x00b\tc\nd é 漢"
        );
        assert!(matches!(visible("select 1"), Cow::Borrowed(_)));
    }

    fn story() -> Vec<Record<'static>> {
        let (session, grant) = (SessionId::fresh(), GrantId::fresh());
        let intent = |i, n, text: Option<&'static str>| Record::Intent {
            session,
            i,
            n,
            params: n.map(|_| 2),
            class: text.map(|_| Class::Select),
            text: text.map(Into::into),
            cut: None,
            rules: Rules::Texts(text.map(|_| "p.yaml:3".to_owned()).into_iter().collect()),
        };
        let outcome = |i, status| Record::Outcome {
            session,
            i,
            status,
            tag: Some("SELECT 2".into()),
            rows: Some(2),
            sqlstate: None,
            masked: Counts::new(),
            detected: Counts::new(),
            micros: 1_500,
        };
        vec![
            Record::SessionOpened {
                session,
                grant,
                address: "127.0.0.1:5000".into(),
                backend_pid: 7,
                application: None,
                tls: None,
            },
            intent(1, None, Some("select\u{1b}[2J 1")),
            outcome(1, Status::Ok),
            Record::Statement {
                session,
                n: 1,
                class: Class::Update,
                text: "update app.t set a = $1\n where b = $2".into(),
                cut: None,
                rules: Rules::Texts(vec!["p.yaml:4".into()]),
            },
            intent(2, Some(1), None),
            Record::Denied {
                session,
                n: None,
                code: "class-not-allowed".into(),
                origin: "p.yaml:2".into(),
                asked: "DROP TABLE app.t".into(),
                text: "drop table app.t".into(),
                cut: None,
            },
            outcome(2, Status::Unknown),
            Record::BrokerStarted {
                version: "1".into(),
                boot: "b".into(),
            },
        ]
    }

    #[test]
    fn a_session_is_listed_shown_and_replayed() {
        let mut whole = Story::default();
        let mut all = Summaries::default();
        for (n, record) in (0_u32..).zip(story()) {
            let t = 1_700_000_000_000_000 + i64::from(n) * 500_000;
            let entry = Entry {
                seq: u64::from(n) + 1,
                t,
                record,
            };
            whole.take(entry.clone());
            all.take(entry);
        }
        let listed = all.finish(&Filter::default());
        let detail = whole.finish().unwrap();
        assert_eq!(listed, std::slice::from_ref(&detail.summary));
        assert_eq!(
            (detail.summary.executions, detail.summary.denied, detail.summary.unknown),
            (2, 1, 1)
        );
        assert_eq!(detail.summary.state, State::Lost);

        let (mut shown, mut replayed, mut pauses) = (Vec::new(), Vec::new(), Vec::new());
        show(&mut shown, &detail).unwrap();
        replay(&mut replayed, &detail, |pause| pauses.push(pause.as_millis())).unwrap();
        assert_eq!(pauses, [500, 1_500, 500]);
        let replayed = String::from_utf8(replayed).unwrap();
        assert_eq!(
            replayed,
            "+500.0ms   #2 select  allowed by p.yaml:3\n    select\\x1b[2J 1\n    -> ok SELECT 2, 2 rows, 1.5ms\n\
             +2.00s     #5 update  allowed by p.yaml:4\n    update app.t set a = $1\n     where b = $2\n    \
             with 2 parameters (values are not recorded)\n    -> unknown SELECT 2, 2 rows, 1.5ms\n\
             +2.50s     #6 DENIED class-not-allowed by p.yaml:2\n    drop table app.t\n    \
             -> not sent: DROP TABLE app.t\n-- lost: the broker died with it\n"
        );
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("2 sent, 1 denied, 0 failed, 1 unknown, 4 rows") && !shown.contains('\u{1b}'));
    }

    #[test]
    fn filters_choose_sessions() {
        let fold = || {
            let mut all = Summaries::default();
            for (n, record) in (0_u32..).zip(story()) {
                all.take(Entry {
                    seq: u64::from(n),
                    t: i64::from(n),
                    record,
                });
            }
            all
        };
        let other = Filter {
            repository: Some("acme/other".into()),
            ..Filter::default()
        };
        assert!(fold().finish(&other).is_empty());
        let later = Filter {
            since: Some(1),
            ..Filter::default()
        };
        assert!(fold().finish(&later).is_empty());
        let denied = Filter {
            denied: true,
            limit: Some(1),
            ..Filter::default()
        };
        assert_eq!(fold().finish(&denied).len(), 1);
    }
}
