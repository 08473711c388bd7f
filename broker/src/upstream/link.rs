//! One logged-in connection to the database, owned by one session (or waiting warm for the next one of its grant).

use std::sync::Arc;

use bytes::BytesMut;

use super::{Cut, Target, Transport};
use crate::decide::Permit;

/// A live upstream connection. Bytes go out in two steps: [`Link::send`] stages them, [`Link::release`] frees them
/// for the socket once their intents are recorded.
#[derive(Debug)]
pub struct Link {
    /// The database.
    pub target: Arc<Target>,
    /// The socket.
    pub transport: Transport,
    /// What was read and not yet handled.
    pub inbound: BytesMut,
    /// What may be written.
    pub outbound: BytesMut,
    /// The server's process id, the one the client is told as well.
    pub pid: u32,
    /// The server's ParameterStatus values, as of login.
    pub parameters: Vec<(String, String)>,
    /// The settings it logged in with: what RESET and DISCARD go back to.
    pub settings: Vec<(String, String)>,
    key: Vec<u8>,
    staged: BytesMut,
}

impl Link {
    /// A connection that has just logged in.
    pub fn new(
        target: Arc<Target>,
        transport: Transport,
        inbound: BytesMut,
        pid: u32,
        key: Vec<u8>,
        parameters: Vec<(String, String)>,
        settings: Vec<(String, String)>,
    ) -> Self {
        Self {
            target,
            transport,
            inbound,
            outbound: BytesMut::new(),
            pid,
            parameters,
            settings,
            key,
            staged: BytesMut::new(),
        }
    }

    /// Stages bytes of a statement that was judged and allowed.
    pub fn send(&mut self, _permit: &Permit, bytes: BytesMut) {
        stage(&mut self.staged, bytes);
    }

    /// Stages bytes that carry no statement of the client's: Sync, Flush, Close, Describe, Terminate, the broker's
    /// own queries and the failing statement that stands in for a denied one.
    pub fn send_own(&mut self, bytes: BytesMut) {
        stage(&mut self.staged, bytes);
    }

    /// Frees what is staged for the socket. Called once the intents of this batch are recorded.
    pub fn release(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        stage(&mut self.outbound, staged);
    }

    /// Drops what is staged: its intents could not be recorded.
    pub fn discard_staged(&mut self) {
        self.staged.clear();
    }

    /// Bytes that wait for their record or for the socket.
    pub fn backlog(&self) -> usize {
        self.staged.len() + self.outbound.len()
    }

    /// What it takes to stop whatever this connection runs.
    pub fn cut(&self) -> Cut {
        Cut {
            target: self.target.clone(),
            pid: self.pid,
            key: self.key.clone(),
        }
    }
}

/// Appends, without copying when nothing waits or when the bytes were cut off just behind what waits.
fn stage(waiting: &mut BytesMut, bytes: BytesMut) {
    waiting.unsplit(bytes);
}
