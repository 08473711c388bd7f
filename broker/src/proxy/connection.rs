//! One connection, from accept to the end of its session.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::door::{self, Arrival, Turned};
use super::startup::{Wishes, judge_path, wishes};
use super::{Front, LOGIN_DEADLINE, greet, login};
use crate::base::fault::Fault as _;
use crate::base::id::SessionId;
use crate::base::secret::random_bytes;
use crate::grant::{Live, SessionSlot};
use crate::ledger::Record;
use crate::role::Bearer;
use crate::scram::Verifier;
use crate::session::{Core, Opening, Session, View};
use crate::upstream::{Transport, cut, linger, part};
use crate::wire::answer::{self, Complaint};
use crate::wire::startup::Startup;

/// A client that has proved who it is.
struct Guest {
    transport: Transport,
    inbound: BytesMut,
    greeting: BytesMut,
    grant: Arc<Live>,
    slot: SessionSlot,
    wishes: Wishes,
    minor: u16,
}

/// Serves one connection. `starting` is given back once the client is logged in.
pub async fn serve(
    front: Arc<Front>,
    core: Rc<Core>,
    tcp: TcpStream,
    address: SocketAddr,
    starting: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    if let Err(error) = tune(&tcp) {
        tracing::debug!(error = %error, "socket options");
    }
    let arriving = tokio::time::timeout(LOGIN_DEADLINE, arrive(&front, &core, tcp, address)).await;
    drop(starting);
    let Ok(Some(guest)) = arriving else { return };
    // Boxed: a session outlives its start-up by far, which should not stay in its frame.
    Box::pin(host(front, core, guest, address, stop)).await;
}

fn tune(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(std::time::Duration::from_secs(30))
        .with_interval(std::time::Duration::from_secs(10))
        .with_retries(3);
    let socket = socket2::SockRef::from(tcp);
    socket.set_tcp_keepalive(&keepalive)?;
    // A peer that takes no bytes for this long is gone, whatever the kernel's retransmission still hopes for.
    socket.set_tcp_user_timeout(Some(std::time::Duration::from_secs(30)))
}

async fn arrive(front: &Front, core: &Core, tcp: TcpStream, address: SocketAddr) -> Option<Guest> {
    match door::enter(tcp, front.tls.as_ref()).await {
        Ok(Arrival::Client(transport, startup)) => admit(front, core, *transport, &startup, address).await,
        Ok(Arrival::Cancel { mut asker, pid, secret }) => {
            if front.attempts.cancel(address.ip()) {
                match front.house.cancels.find(pid, &secret) {
                    Some(found) => {
                        if let Err(error) = cut::cancel(&found).await {
                            tracing::debug!(error = %error, "cancel request failed");
                        }
                    }
                    None => front.attempts.cancel_failed(address.ip()),
                }
            }
            // Closed only now, and over TLS with its closing alert, without which libpq reports a failure.
            let _closed = asker.shutdown().await;
            None
        }
        Err(Turned::Silent) => None,
        Err(Turned::Told(transport, fault)) => {
            tell(*transport, &Complaint::fatal(fault.sqlstate(), fault.to_string())).await;
            None
        }
        Err(Turned::Plain(transport)) => {
            let complaint = Complaint::fatal("28000", "this endpoint accepts TLS connections only")
                .hint("add sslmode=verify-full (or at least sslmode=require) to the connect string");
            tell(*transport, &complaint).await;
            None
        }
    }
}

async fn admit(
    front: &Front,
    core: &Core,
    mut transport: Transport,
    startup: &Startup,
    address: SocketAddr,
) -> Option<Guest> {
    let user = startup.get("user").unwrap_or_default();
    let found = front.registry.find(user);
    let verifier = found
        .as_ref()
        .map_or_else(|| Verifier::mock(user, &front.mock_key), |grant| grant.verifier.clone());
    negotiate(&mut transport, startup).await.ok()?;
    if let Err(wait) = front.attempts.login(address.ip(), user) {
        let text = format!(
            "too many failed logins from this address; the next one is heard in {} s",
            wait.as_secs() + 1
        );
        let hint = "an endpoint ends with its grant: request a new one, and use its connect string as given";
        record_refusal(core, user, "too-many-attempts", address);
        tell(transport, &Complaint::fatal("53300", text).hint(hint)).await;
        return None;
    }
    let (mut inbound, mut greeting) = (BytesMut::new(), BytesMut::new());
    let proved = login::login(
        &mut transport,
        &mut inbound,
        &mut greeting,
        &verifier,
        front.tls.as_ref(),
    )
    .await;
    let refuse = |code: &'static str, complaint: Complaint| (code, complaint);
    let admitted = match (proved, found) {
        (Ok(()), Some(grant)) => match front.registry.admit_session(&grant, front.house.clock.now()) {
            Ok(slot) => wishes(startup, &grant.scope, real_name(front, &grant))
                .map(|wishes| (grant, slot, wishes))
                .map_err(|complaint| refuse("start-up-refused", complaint)),
            Err(refusal) => {
                let complaint = Complaint::fatal(refusal.sqlstate(), refusal.message()).hint(refusal.hint());
                Err(refuse("grant-refused", complaint))
            }
        },
        (Err(login::Failed::Silent), _) => return None,
        (Err(login::Failed::Protocol(fault)), _) => Err(refuse(
            "protocol-violation",
            Complaint::fatal(fault.sqlstate(), fault.to_string()),
        )),
        // An exchange against a mock verifier cannot succeed; if it did, it would still be nobody.
        (Err(login::Failed::Password), _) | (Ok(()), None) => {
            front.attempts.login_failed(address.ip(), user);
            let text = format!("password authentication failed for user {user:?}");
            let hint = "an endpoint ends with its grant: request a new one, and use its connect string as given";
            Err(refuse("password-refused", Complaint::fatal("28P01", text).hint(hint)))
        }
    };
    match admitted {
        Ok((grant, slot, wishes)) => Some(Guest {
            transport,
            inbound,
            greeting,
            grant,
            slot,
            wishes,
            minor: startup.minor,
        }),
        Err((code, complaint)) => {
            record_refusal(core, user, code, address);
            tell(transport, &complaint).await;
            None
        }
    }
}

/// What the server calls the grant's database.
fn real_name<'a>(front: &'a Front, grant: &'a Live) -> &'a str {
    front
        .targets
        .get(&grant.scope.database)
        .map_or("", |target| &target.database)
}

/// Tells a client that asks for a newer minor version, or for options nobody here knows, what the broker speaks.
async fn negotiate(transport: &mut Transport, startup: &Startup) -> std::io::Result<()> {
    let unknown: Vec<String> = startup
        .keys
        .iter()
        .map(|(key, _)| key)
        .filter(|key| key.starts_with("_pq_."))
        .cloned()
        .collect();
    if matches!(startup.minor, 0 | 2) && unknown.is_empty() {
        return Ok(());
    }
    let mut out = BytesMut::new();
    answer::put_negotiate(&mut out, if startup.minor >= 2 { 196_610 } else { 196_608 }, unknown);
    transport.write_all(&out).await?;
    transport.flush().await
}

fn record_refusal(core: &Core, user: &str, code: &'static str, address: SocketAddr) {
    let user: String = user.chars().take(64).collect();
    let mut journal = core.journal.borrow_mut();
    journal.append(&Record::SessionRefused {
        user: Some(user.into()),
        code: code.into(),
        address: address.ip().to_string().into(),
    });
    if let Err(fault) = journal.commit() {
        tracing::error!(error = %fault, "a refused session could not be recorded");
    }
}

async fn host(front: Arc<Front>, core: Rc<Core>, guest: Guest, address: SocketAddr, stop: CancellationToken) {
    let Guest {
        transport,
        inbound,
        mut greeting,
        grant,
        slot,
        wishes,
        minor,
    } = guest;
    let opened = open(&front, &core, &grant, &wishes, address).await;
    let (link, view) = match opened {
        Ok(pair) => pair,
        Err(complaint) => {
            tell(transport, &complaint).await;
            return;
        }
    };
    // Protocol 3.2 has room for a long key; older clients can hold four bytes.
    let secret = match random_bytes::<32>() {
        Ok(bytes) => bytes
            .iter()
            .copied()
            .take(if minor >= 2 { 32 } else { 4 })
            .collect::<Vec<u8>>(),
        Err(fault) => {
            tell(transport, &Complaint::fatal("58000", fault.to_string())).await;
            return;
        }
    };
    for (name, value) in &link.parameters {
        answer::put_parameter(&mut greeting, name, value);
    }
    answer::put_key_data(&mut greeting, link.pid, &secret);
    answer::put_ready_idle(&mut greeting);
    let guard = front.house.cancels.register(secret, link.cut());
    let tls = transport.is_tls().then_some("TLS");
    let opening = Opening {
        id: SessionId::fresh(),
        slot,
        address,
        application: wishes.application,
        tls,
        client: transport,
        inbound,
        greeting,
        link,
        view,
        stop,
    };
    let link = Session::run(core.clone(), opening).await;
    drop(guard);
    if let Some(mut link) = link
        && greet::reset(&mut link).await.is_ok()
        && grant.ending().is_none()
    {
        core.warm.borrow_mut().put(grant, link);
    }
}

async fn open(
    front: &Front,
    core: &Core,
    grant: &Arc<Live>,
    wishes: &Wishes,
    address: SocketAddr,
) -> Result<(crate::upstream::Link, View), Complaint> {
    let Some(target) = front.targets.get(&grant.scope.database) else {
        return Err(Complaint::fatal(
            "3D000",
            "the operator no longer defines this grant's database",
        ));
    };
    let failed = |fault: crate::upstream::UpstreamFault| {
        tracing::error!(error = %fault, grant = %grant.id, "no upstream connection");
        let sqlstate = if fault.code() == "setting-refused" {
            "22023"
        } else {
            "08001"
        };
        let complaint = Complaint::fatal(sqlstate, fault.public().into_owned());
        fault.fix().map(|fix| complaint.clone().hint(fix)).unwrap_or(complaint)
    };
    let bearer = Bearer {
        grant: grant.id,
        scope: &grant.scope,
        claims: &grant.claims,
        ends_at: grant.ends_at,
    };
    let own = front.house.roles.take(bearer).await.map_err(|fault| {
        tracing::error!(error = %fault, grant = %grant.id, "no login for a session");
        let complaint = Complaint::fatal("08001", fault.public().into_owned());
        fault.fix().map(|fix| complaint.clone().hint(fix)).unwrap_or(complaint)
    })?;
    let target = own.as_ref().unwrap_or(target);
    let (snapshot, updates) = front.house.catalogs.subscribe(target).await.map_err(failed)?;
    let mut settings = wishes.settings.clone();
    if let Some(path) = &wishes.path {
        judge_path(path, &grant.scope, &snapshot)
            .inspect_err(|_| record_refusal(core, &grant.id.to_string(), "start-up-refused", address))?;
        settings.push(("search_path".to_owned(), path.clone()));
    }
    let link = greet::connect(core, grant, target, &settings).await.map_err(failed)?;
    let mut view = View::new(snapshot, updates);
    if wishes.path.is_some() {
        // Names are looked up along another path than the shared schema's.
        view.moved();
    }
    Ok((link, view))
}

/// Says one last thing to a client without a session.
async fn tell(mut transport: Transport, complaint: &Complaint) {
    let mut out = BytesMut::new();
    complaint.put(&mut out);
    if part(&mut transport, &out, std::time::Duration::from_secs(2)).await {
        linger(transport).await;
    }
}
