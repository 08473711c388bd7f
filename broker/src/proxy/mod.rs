//! The data plane's door: one listener, one current-thread runtime per core sharing the port, every connection's
//! start-up in a task of its own so that nobody can stall the accept loop.

mod attempts;
mod connection;
mod door;
mod greet;
mod login;
mod startup;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::grant::Registry;
use crate::record::Journal;
use crate::session::{Core, House};
use crate::upstream::Target;

pub use attempts::Attempts;
pub use door::Tls;

/// How long a waiting upstream connection may outlive its grant.
const WARM_BEAT: Duration = Duration::from_millis(50);
/// A client has this long from connect to a finished login.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);
/// Connections that may be in start-up at once, per runtime; more are closed at once.
const MAX_STARTING: usize = 4096;
/// How long sessions may take to say goodbye at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Everything the door knows; shared by every runtime.
#[derive(Debug)]
pub struct Front {
    /// What sessions share.
    pub house: Arc<House>,
    /// The live grants.
    pub registry: Arc<Registry>,
    /// The operator's databases by name.
    pub targets: HashMap<String, Arc<Target>>,
    /// TLS; `None` only on loopback.
    pub tls: Option<Tls>,
    /// What has gone wrong at the door of late.
    pub attempts: Attempts,
    /// Makes unknown users look like known ones, the same way for the life of the process.
    pub mock_key: [u8; 32],
}

/// Binds the port once, exclusively, and then once per runtime. The first binding notices another process that holds
/// the port, which shared binding alone would hide.
pub fn bind(address: SocketAddr, runtimes: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    (0..runtimes.max(1))
        .map(|_| {
            let socket = socket(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.listen(1024)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Runs one runtime's share of the data plane on the calling thread until `stop`.
pub fn run(
    front: Arc<Front>,
    journal: Journal,
    listener: std::net::TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let done = local.block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        let core = Rc::new(Core::new(front.house.clone(), journal));
        // In a task of its own: what the runtime itself waits for is asked after at every wake-up.
        let accepting = tokio::task::spawn_local(async move { accept(&front, &core, &listener, &stop).await });
        accepting.await.map_err(io::Error::other)
    });
    drop(local);
    // A text that is still being read is nobody's any more.
    runtime.shutdown_background();
    done
}

async fn accept(front: &Arc<Front>, core: &Rc<Core>, listener: &TcpListener, stop: &CancellationToken) {
    let starting = Arc::new(tokio::sync::Semaphore::new(MAX_STARTING));
    let tasks = tokio_util::task::TaskTracker::new();
    let sweeper = tokio::task::spawn_local({
        let core = core.clone();
        async move {
            loop {
                tokio::time::sleep(WARM_BEAT).await;
                core.warm.borrow_mut().sweep();
            }
        }
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, address)) => {
                let Ok(permit) = starting.clone().try_acquire_owned() else {
                    continue;
                };
                let (front, core, stop) = (front.clone(), core.clone(), stop.clone());
                tasks.spawn_local(async move {
                    connection::serve(front, core, tcp, address, permit, stop).await;
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: wait for some to come back instead of spinning.
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    sweeper.abort();
    tasks.close();
    let _drained = tokio::time::timeout(DRAIN, tasks.wait()).await;
}
