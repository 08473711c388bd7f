//! From a login to a session: an upstream connection, warm or new, that starts with the client's settings.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::claims::Claims;
use crate::grant::Live;
use crate::session::Core;
use crate::upstream::login::{Dress, login};
use crate::upstream::{Link, Target, UpstreamFault};
use crate::wire::frame::{HEADER, Head};
use crate::wire::{backend, frontend};

/// PostgreSQL cuts `application_name` here.
const NAME_BYTES: usize = 63;

/// How much later than the broker the server ends an idle session.
const IDLE_SLACK: Duration = Duration::from_secs(5);

/// An upstream connection for a session of `grant` that starts with the client's `wishes`, each of which was judged: a
/// warm one that logged in the same way, or a new one.
pub async fn connect(
    core: &Core,
    grant: &Live,
    target: &std::sync::Arc<Target>,
    wishes: &[(String, String)],
) -> Result<Link, UpstreamFault> {
    let dress = dress(grant, wishes);
    loop {
        let warm = core.warm.borrow_mut().take(grant.id, &dress.settings);
        match warm {
            Some(link) if quiet(&link).await => return Ok(link),
            Some(_) => {}
            None => return login(target, &dress).await,
        }
    }
}

/// True when a waiting connection is open and has nothing to say.
async fn quiet(link: &Link) -> bool {
    let mut byte = [0_u8; 1];
    let mut peek = pin!(link.transport.tcp().peek(&mut byte));
    let ready = std::future::poll_fn(|cx| Poll::Ready(peek.as_mut().poll(cx).is_ready())).await;
    !ready && link.inbound.is_empty()
}

/// What the database's own log and `pg_stat_activity` say about the session, the limits the scope sets, and the
/// client's own settings, which may only lower them.
fn dress(grant: &Live, wishes: &[(String, String)]) -> Dress {
    let millis = |limit: Duration| limit.as_millis().to_string();
    let limits = &grant.scope.limits;
    let mut settings = Vec::new();
    if let Some(limit) = &limits.statement_timeout {
        settings.push(("statement_timeout".to_owned(), millis(limit.value)));
    }
    if let Some(limit) = &limits.lock_timeout {
        settings.push(("lock_timeout".to_owned(), millis(limit.value)));
    }
    if let Some(limit) = &limits.idle_timeout {
        // The broker ends an idle session itself, and says why; should it fail to, the server does.
        let later = millis(limit.value + IDLE_SLACK);
        settings.push(("idle_session_timeout".to_owned(), later.clone()));
        settings.push(("idle_in_transaction_session_timeout".to_owned(), later));
    }
    if limits.read_only.is_some() {
        settings.push(("default_transaction_read_only".to_owned(), "on".to_owned()));
    }
    settings.extend_from_slice(wishes);
    Dress {
        application: application_name(&grant.claims),
        settings,
    }
}

/// `hoop acme/orders run 123 job 456`, in ASCII, at most 63 bytes; a long repository name is what gets cut.
pub fn application_name(claims: &Claims) -> String {
    let part = |label: &str, value: &Option<String>| {
        value
            .as_ref()
            .map_or_else(String::new, |value| format!(" {label} {value}"))
    };
    let tail = format!("{}{}", part("run", &claims.run_id), part("job", &claims.job_id));
    let printable = |text: &str| -> String {
        text.chars()
            .map(|letter| {
                if letter.is_ascii_graphic() || letter == ' ' {
                    letter
                } else {
                    '?'
                }
            })
            .collect()
    };
    let tail: String = printable(&tail).chars().take(NAME_BYTES - 10).collect();
    let room = NAME_BYTES - 5 - tail.len();
    let repository: String = printable(&claims.repository).chars().take(room).collect();
    format!("hoop {repository}{tail}")
}

/// Brings a connection back to the state it had after login, so that the next session of the same grant finds nothing
/// of this one.
pub async fn reset(link: &mut Link) -> Result<(), String> {
    exchange(link, "DISCARD ALL").await?;
    // DISCARD goes back to the login itself; this goes back to what it entered at first, as the broker asked or as the
    // operator set it for the login.
    exchange(link, "RESET ROLE").await
}

/// One simple query of the broker's own, up to ReadyForQuery outside any transaction.
async fn exchange(link: &mut Link, sql: &str) -> Result<(), String> {
    let mut out = BytesMut::new();
    frontend::put_query(&mut out, sql);
    let io = |error: std::io::Error| error.to_string();
    link.transport.write_all(&out).await.map_err(io)?;
    link.transport.flush().await.map_err(io)?;
    let mut failure = None;
    loop {
        let head = Head::peek(&link.inbound, |_| false).map_err(|fault| fault.to_string())?;
        let Some(head) = head.filter(|head| head.complete(link.inbound.len())) else {
            if link.transport.read_buf(&mut link.inbound).await.map_err(io)? == 0 {
                return Err("the database closed the connection".to_owned());
            }
            continue;
        };
        let message = link.inbound.split_to(head.total);
        let body = message.get(HEADER..).unwrap_or_default();
        match head.tag {
            b'S' => {
                let (name, value) = backend::parameter(body).map_err(|fault| fault.to_string())?;
                link.parameters.retain(|(known, _)| known != name);
                link.parameters.push((name.to_owned(), value.to_owned()));
            }
            b'E' => {
                let report = backend::report(body).map_err(|fault| fault.to_string())?;
                failure = Some(format!("{} (SQLSTATE {})", report.message, report.sqlstate));
            }
            b'Z' => {
                let idle = backend::ready(body).map_err(|fault| fault.to_string())? == b'I';
                return match failure {
                    Some(failure) => Err(failure),
                    None if idle => Ok(()),
                    None => Err("not outside a transaction".to_owned()),
                };
            }
            _ => {}
        }
    }
}
