//! Ending what runs upstream: a CancelRequest at once, then `pg_terminate_backend`, until the backend is gone.
//!
//! Closing a socket does not stop a query, and a cancel alone can arrive a moment too early; together they do.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::control::Controls;
use super::{Target, dial};

/// How often a backend is asked to go before it is reported.
const TRIES: u32 = 20;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// One backend that must go.
#[derive(Clone)]
pub struct Cut {
    /// The database.
    pub target: Arc<Target>,
    /// The backend's process id.
    pub pid: u32,
    /// Its cancel key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cut({} pid {})", self.target.name, self.pid)
    }
}

/// Where sessions hand in backends to end. Cloneable, never blocks.
#[derive(Debug, Clone)]
pub struct Cutter(mpsc::UnboundedSender<Cut>);

impl Cutter {
    /// The handle and the queue that [`run`] works off.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Cut>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Ends the backend soon. When the broker is shutting down nobody listens any more, and the closed sockets do it.
    pub fn cut(&self, cut: Cut) {
        if self.0.send(cut).is_err() {
            tracing::debug!("a backend was handed in after shutdown");
        }
    }
}

/// Works off the queue until every [`Cutter`] is gone, then waits for the last ones.
pub async fn run(mut queue: mpsc::UnboundedReceiver<Cut>, controls: Controls) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(cut) = queue.recv().await {
        while tasks.try_join_next().is_some() {}
        let controls = controls.clone();
        tasks.spawn(async move { end(&cut, &controls).await });
    }
    tasks.join_all().await;
}

async fn end(cut: &Cut, controls: &Controls) {
    if let Err(error) = cancel(cut).await {
        tracing::debug!(database = %cut.target.name, error = %error, "cancel request failed");
    }
    for _ in 0..TRIES {
        match terminate(cut, controls).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::warn!(database = %cut.target.name, error = %error, "cannot end a backend yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::error!(database = %cut.target.name, pid = cut.pid, "a backend did not end; look at pg_stat_activity");
}

/// Sends a CancelRequest over a connection of its own and waits until the server has closed it.
pub async fn cancel(cut: &Cut) -> Result<(), String> {
    let mut transport = dial::dial(&cut.target).await.map_err(|fault| fault.to_string())?;
    let mut packet = Vec::with_capacity(12 + cut.key.len());
    let length = u32::try_from(12 + cut.key.len()).unwrap_or(u32::MAX);
    packet.extend(length.to_be_bytes());
    packet.extend(80_877_102_u32.to_be_bytes());
    packet.extend(cut.pid.to_be_bytes());
    packet.extend(&cut.key);
    let exchange = async {
        transport.write_all(&packet).await?;
        transport.flush().await?;
        // The server closes once the signal is sent; its bytes, if any, do not matter.
        let mut sink = [0_u8; 16];
        while transport.read(&mut sink).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    tokio::time::timeout(dial::DEADLINE, exchange)
        .await
        .map_err(|_| "no answer to a cancel request".to_owned())?
        .map_err(|error| error.to_string())
}

/// Asks the server to end the backend; true when it is gone. Only a backend of the session's own login is touched.
async fn terminate(cut: &Cut, controls: &Controls) -> Result<bool, String> {
    let client = controls.get(&cut.target).await.map_err(|fault| fault.to_string())?;
    let pid = i32::try_from(cut.pid).map_err(|_| "process id out of range".to_owned())?;
    let rows = client
        .query(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
             WHERE a.pid OPERATOR(pg_catalog.=) $1 AND a.usename OPERATOR(pg_catalog.=) $2::pg_catalog.text::pg_catalog.name",
            &[&pid, &cut.target.session_user()],
        )
        .await
        .map_err(|error| error.to_string())?;
    Ok(rows.is_empty())
}
