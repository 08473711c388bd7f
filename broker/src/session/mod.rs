//! A connection's life after start-up: every statement judged, recorded before its bytes leave, and answered as the
//! server answers; cut when its grant ends. No TCP types here: both peers are byte streams.

mod anew;
pub mod cancel;
mod client;
mod commit;
mod copy;
pub mod core;
mod guard;
mod handed;
mod log;
mod masks;
mod net;
mod owner;
mod pending;
pub mod prepared;
mod pump;
mod reading;
mod refusal;
mod schema;
mod script;
mod server;
mod shape;
mod values;
mod views;
mod watchdog;

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::id::SessionId;
use crate::decide::Permit;
use crate::grant::{Ending, EndingKind, Live, SessionSlot};
use crate::record::RecordFault;
use crate::upstream::{Link, linger, part};
use crate::wire::WireFault;
use crate::wire::answer::Complaint;

pub use self::core::{Core, House};
use self::log::Log;
use self::pending::Expect;
use self::prepared::{Judged, Prepared, Reading};
use self::pump::{BACKLOG, Side, poll_side};
use self::refusal::Nonce;
pub use self::schema::View;

/// How long a client that no longer reads may hold up its own end.
const FAREWELL: Duration = Duration::from_millis(200);

/// Why a session is over.
#[derive(Debug)]
enum End {
    /// The client said Terminate.
    Terminated,
    /// The client's connection broke.
    ClientGone,
    /// The database closed the connection or broke it.
    UpstreamGone,
    /// The grant ended: revoked, expired, killed.
    Grant(Ending),
    /// The client broke the protocol.
    Protocol(WireFault),
    /// Something the client must be told before the connection closes.
    Fatal(Box<Complaint>),
    /// The ledger could not be written: nothing of the last batch was sent.
    Unrecorded(RecordFault),
}

/// What the client is doing about COPY … FROM STDIN.
#[derive(Debug)]
enum Copy {
    /// Nothing.
    Idle,
    /// A judged COPY was sent and has not ended: its data passes.
    Open {
        /// What lets it pass.
        permit: Permit,
        /// The server has said that it takes data.
        begun: bool,
    },
    /// A refused COPY: its data is swallowed, then the refusal follows.
    Swallow(Box<Complaint>),
}

/// What becomes of the rest of a streamed client message.
#[derive(Debug)]
enum Onward {
    /// It is thrown away.
    Drop,
    /// It goes on: it belongs to an empty statement.
    Own,
    /// It goes on under this permit.
    For(Permit),
}

/// One client connection inside a grant.
pub struct Session<C> {
    core: Rc<Core>,
    grant: Arc<Live>,
    client: C,
    inbound: BytesMut,
    outbound: BytesMut,
    link: Link,
    view: View,
    nonce: Nonce,
    log: Log,
    pending: VecDeque<Expect>,
    prepared: HashMap<String, Rc<Prepared>>,
    portals: HashMap<String, Rc<Prepared>>,
    copy: Copy,
    /// A Query that goes out statement by statement.
    script: Option<script::Script>,
    /// Who the session is for the statement at hand.
    wardrobe: owner::Wardrobe,
    /// The status of the last ReadyForQuery.
    transaction: u8,
    /// Something was sent since then that may end the transaction block.
    block_ends: bool,
    /// Extended-protocol messages were sent since the last Sync was answered.
    pipeline: bool,
    /// A message was refused: the client's messages are dropped up to its Sync, as the server would.
    skipping: bool,
    /// The server reported an error in the extended protocol and drops what it gets up to Sync.
    server_skips: bool,
    /// The next client message waits until the server has answered everything and the schema was read again.
    waiting: bool,
    /// A text that is being read elsewhere.
    reading: Option<(Rc<str>, JoinHandle<Reading>)>,
    /// What was read elsewhere for the message at the head of the inbound buffer.
    read_ahead: Vec<(Rc<str>, Rc<Judged>)>,
    /// Bytes of a streamed client message still to come, and where they go.
    client_stream: (usize, Onward),
    /// Bytes of a streamed server message still to pass on.
    server_stream: usize,
    /// Bytes of a server message still to be dropped.
    server_discard: usize,
    /// The statement a limit watches.
    guard: guard::Guard,
    /// What the transaction has written, and whether it is about to be committed.
    commit: commit::Commit,
    /// The end of a script's last statement, told once the commit succeeded.
    parting: Option<guard::Held>,
    /// A cancel of the broker's own is under way.
    stop: Option<guard::Stop>,
    /// The columns of which no raw value may come back, as of a version of the schema.
    raw: Option<(u64, masks::RawColumns)>,
    /// What looks through the server's answers, where the scope asks for it.
    net: Option<net::Net>,
    /// A large row at which that is done.
    looking: Option<net::Looking>,
    /// Answers so far, to see whether the server moves.
    answers: u64,
    watchdog: watchdog::Watchdog,
    /// Its part in what others do to the views of masked tables.
    anew: anew::Anew,
}

/// What a session is made of: everything the doors have settled before it starts.
pub struct Opening<C> {
    /// Its name in the record.
    pub id: SessionId,
    /// Its place in the grant.
    pub slot: SessionSlot,
    /// The client's address.
    pub address: SocketAddr,
    /// The client's own name for itself.
    pub application: Option<String>,
    /// How the client's connection is encrypted.
    pub tls: Option<&'static str>,
    /// The client, authenticated.
    pub client: C,
    /// What the client has sent already.
    pub inbound: BytesMut,
    /// What the client is to be told first.
    pub greeting: BytesMut,
    /// A logged-in connection upstream.
    pub link: Link,
    /// The schema names resolve against.
    pub view: View,
    /// The broker is going down.
    pub stop: CancellationToken,
}

impl<C> std::fmt::Debug for Opening<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<C> std::fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("grant", &self.grant.id)
            .finish_non_exhaustive()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Session<C> {
    /// Runs a session until it is over. Hands back the upstream connection when it is clean enough to be used again
    /// by the same grant; in every other case what ran upstream is being ended.
    pub async fn run(core: Rc<Core>, opening: Opening<C>) -> Option<Link> {
        let Opening {
            id,
            mut slot,
            address,
            application,
            tls,
            client,
            inbound,
            greeting,
            link,
            view,
            stop,
        } = opening;
        let grant = slot.grant().clone();
        let net = net::Net::of(&grant.scope);
        let enforces = link.target.role().is_some();
        let anew = anew::Anew::at(enforces.then(|| core.house.catalogs.seat(&link.target)));
        let mut log = Log::new(id, core.clone(), grant.clone());
        log.opened(grant.id, &address.to_string(), link.pid, application.as_deref(), tls);
        let mut session = Self {
            core,
            grant,
            client,
            inbound,
            outbound: greeting,
            link,
            view,
            nonce: Nonce::fresh(id),
            log,
            pending: VecDeque::new(),
            prepared: HashMap::new(),
            portals: HashMap::new(),
            copy: Copy::Idle,
            script: None,
            wardrobe: owner::Wardrobe::default(),
            transaction: b'I',
            block_ends: false,
            pipeline: false,
            skipping: false,
            server_skips: false,
            waiting: false,
            reading: None,
            read_ahead: Vec::new(),
            client_stream: (0, Onward::Drop),
            server_stream: 0,
            server_discard: 0,
            guard: guard::Guard::default(),
            commit: commit::Commit::default(),
            parting: None,
            stop: None,
            raw: None,
            net,
            looking: None,
            answers: 0,
            watchdog: watchdog::Watchdog::default(),
            anew,
        };
        let end = session.serve(&mut slot, &stop).await;
        session.finish(end, slot).await
    }

    async fn serve(&mut self, slot: &mut SessionSlot, stop: &CancellationToken) -> End {
        if let Err(fault) = self.log.commit() {
            // Not even the session's start can be recorded: the client never hears the greeting.
            self.outbound.clear();
            return End::Unrecorded(fault);
        }
        let grant = self.grant.clone();
        // Looked at only when one of its reasons calls, not each time the session moves.
        let mut over = FuturesUnordered::from_iter([over(slot, &grant, stop)]);
        let mut over = pin!(poll_fn(move |cx| match over.poll_next_unpin(cx) {
            Poll::Ready(Some(ending)) => Poll::Ready(ending),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }));
        loop {
            if let Err(end) = self.turn(over.as_mut()).await {
                return end;
            }
        }
    }

    /// One turn: handle what was read, record it, let it go, then wait for more.
    async fn turn<F>(&mut self, mut over: Pin<&mut F>) -> Result<(), End>
    where
        F: Future<Output = Ending>,
    {
        if self.guard_due() {
            let told = self.outbound.len();
            tokio::select! {
                biased;
                ending = over.as_mut() => return Err(End::Grant(ending)),
                settled = self.settle() => settled?,
            }
            return self.record_outcomes(told, 0);
        }
        self.client_frames()?;
        self.record_and_release(over.as_mut()).await?;
        if self.waiting && self.pending.is_empty() {
            tokio::select! {
                biased;
                ending = over.as_mut() => return Err(End::Grant(ending)),
                rested = self.at_rest() => rested?,
            }
            self.waiting = false;
            return Ok(());
        }
        if let Some((text, reading)) = &mut self.reading {
            let read = tokio::select! {
                biased;
                ending = over.as_mut() => return Err(End::Grant(ending)),
                read = reading => read,
            };
            let text = text.clone();
            self.reading = None;
            // What fails in a reader is a denial; a task that was aborted means that the process is ending.
            let read = read.map_err(|_| End::UpstreamGone)?;
            let judged = self.core.decisions.borrow_mut().learn(&text, &self.grant.scope, read);
            self.read_ahead.push((text, judged));
            return Ok(());
        }
        if self.view_can_be_shared() {
            // At once, not with this session's next statement: others may be waiting to see it.
            self.waiting = true;
            return Ok(());
        }
        if self.pending.is_empty() {
            self.anew.rests();
        }
        let Some((from_client, from_server)) = self.wait_in_time(over.as_mut()).await? else {
            return Ok(());
        };
        if from_server.read || from_server.closed {
            let (told, streaming) = (self.outbound.len(), self.server_stream);
            let fatal = self.hear(over).await?;
            self.record_outcomes(told, streaming)?;
            if fatal || from_server.closed {
                return Err(End::UpstreamGone);
            }
        }
        if from_client.closed {
            // What it sent before closing is still handled: Terminate often comes together with the close.
            self.client_frames()?;
            return Err(End::ClientGone);
        }
        Ok(())
    }

    /// Handles what the server has said. While a large row is looked through, and after much was, others have their turn.
    async fn hear<F>(&mut self, mut over: Pin<&mut F>) -> Result<bool, End>
    where
        F: Future<Output = Ending>,
    {
        loop {
            let fatal = self.server_frames()?;
            if self.gives_way() {
                tokio::task::yield_now().await;
            }
            let Some(looking) = &mut self.looking else {
                return Ok(fatal);
            };
            let looked = tokio::select! {
                biased;
                ending = over.as_mut() => return Err(End::Grant(ending)),
                looked = looking => looked,
            };
            self.looking = None;
            self.looked(looked.map_err(|_| End::UpstreamGone)?)?;
        }
    }

    /// Everything sent so far was answered: the schema is read again where it moved, what was written is counted.
    async fn at_rest(&mut self) -> Result<(), End> {
        self.renew().await?;
        self.catch_up().await?;
        if self.guard.wants_count() {
            self.count_before().await?;
        }
        if self.commit.is_wanted() {
            self.settle_deferred().await?;
        }
        Ok(())
    }

    /// Records outcomes before the client hears of them: what it has been told so far are `told` bytes, `streaming` were
    /// on their way.
    fn record_outcomes(&mut self, told: usize, streaming: usize) -> Result<(), End> {
        match self.log.commit() {
            Ok(_) => Ok(()),
            Err(fault) => {
                self.outbound.truncate(told);
                self.server_stream = streaming;
                Err(End::Fatal(Box::new(log::outcome_unrecorded(&fault))))
            }
        }
    }

    /// Records this batch's intents, makes them durable where they change something, and frees the staged bytes.
    async fn record_and_release<F>(&mut self, over: Pin<&mut F>) -> Result<(), End>
    where
        F: Future<Output = Ending>,
    {
        let durable = match self.log.commit() {
            Ok(durable) => durable,
            Err(fault) => {
                self.link.discard_staged();
                return Err(End::Unrecorded(fault));
            }
        };
        if let Some(durable) = durable {
            let synced = tokio::select! {
                biased;
                ending = over => { self.link.discard_staged(); return Err(End::Grant(ending)); }
                synced = durable => synced,
            };
            if let Err(fault) = synced {
                self.link.discard_staged();
                return Err(End::Unrecorded(fault));
            }
        }
        self.link.release();
        self.log.released();
        Ok(())
    }

    /// Waits until either peer moved or the grant is over.
    async fn wait<F>(&mut self, mut over: Pin<&mut F>) -> Result<(pump::Moved, pump::Moved), End>
    where
        F: Future<Output = Ending>,
    {
        let (link_full, outbound_full) = (self.link.backlog() >= BACKLOG, self.outbound.len() >= BACKLOG);
        let read_client = !link_full && self.inbound.len() < BACKLOG.max(self.client_need());
        let read_server = !outbound_full;
        let mut client = Side {
            io: &mut self.client,
            inbound: &mut self.inbound,
            outbound: &mut self.outbound,
            read: read_client,
            awaited: outbound_full,
        };
        let mut server = Side {
            io: &mut self.link.transport,
            inbound: &mut self.link.inbound,
            outbound: &mut self.link.outbound,
            read: read_server,
            awaited: link_full,
        };
        poll_fn(|cx| {
            if let Poll::Ready(ending) = over.as_mut().poll(cx) {
                return Poll::Ready(Err(End::Grant(ending)));
            }
            let from_server = match poll_side(cx, &mut server) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::UpstreamGone)),
                Poll::Ready(Ok(moved)) => Some(moved),
                Poll::Pending => None,
            };
            let from_client = match poll_side(cx, &mut client) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::ClientGone)),
                Poll::Ready(Ok(moved)) => Some(moved),
                Poll::Pending => None,
            };
            match (from_client, from_server) {
                (None, None) => Poll::Pending,
                (client, server) => Poll::Ready(Ok((client.unwrap_or_default(), server.unwrap_or_default()))),
            }
        })
        .await
    }

    /// How many bytes the message at the head of the inbound buffer needs before it can be handled.
    fn client_need(&self) -> usize {
        use crate::wire::frame::{Head, client_streams};
        match Head::peek(&self.inbound, client_streams) {
            Ok(Some(head)) if !client_streams(head.tag) => head.total + 1,
            _ => 0,
        }
    }

    /// Ends the session: upstream first, then the client, then the record. Who was told why is heard out at last, when
    /// the session counts no more.
    async fn finish(mut self, end: End, slot: SessionSlot) -> Option<Link> {
        let clean = matches!(end, End::Terminated)
            && self.transaction == b'I'
            && self.pending.is_empty()
            && !self.pipeline
            && !self.guard.holds()
            && self.stop.is_none()
            && self.view.is_plain()
            && self.link.backlog() == 0;
        if !clean {
            // Closing the socket does not stop a running statement; this does.
            self.core.house.cutter.cut(self.link.cut());
        }
        let told = self.farewell(&end).await;
        self.close_record(&end);
        drop(slot);
        if clean {
            return Some(self.link);
        }
        drop(self.link);
        if told {
            linger(self.client).await;
        }
        None
    }

    /// True when the client was told why its session ends.
    async fn farewell(&mut self, end: &End) -> bool {
        let complaint = match end {
            End::Grant(ending) => Some(Complaint::fatal("57P01", ending.reason.clone())),
            End::Protocol(fault) => Some(Complaint::fatal(fault.sqlstate(), fault.to_string())),
            End::Fatal(complaint) => Some((**complaint).clone()),
            End::Unrecorded(fault) => Some(log::unrecorded(fault)),
            End::UpstreamGone => {
                let gone = Complaint::fatal("08006", "the database closed the connection");
                (!self.log.saw_fatal()).then_some(gone)
            }
            End::Terminated | End::ClientGone => None,
        };
        // In the middle of a streamed row nothing can be said that would be understood.
        let complaint = complaint.filter(|_| self.server_stream == 0);
        if let Some(complaint) = &complaint {
            complaint.put(&mut self.outbound);
        }
        part(&mut self.client, &self.outbound, FAREWELL).await && complaint.is_some()
    }

    /// Every statement without an outcome gets one, then the session's own closing record.
    fn close_record(&mut self, end: &End) {
        let ended = self
            .guard
            .take_held()
            .into_iter()
            .chain(self.parting.take().map(guard::Held::run));
        for run in ended {
            self.log.abandoned(&run);
        }
        while let Some(expect) = self.pending.pop_front() {
            match expect {
                Expect::Execute(run) => self.log.abandoned(&run),
                Expect::Query { runs, ended, .. } => {
                    for run in runs.iter().skip(ended) {
                        self.log.abandoned(run);
                    }
                }
                Expect::Parse { .. }
                | Expect::Bind { .. }
                | Expect::Describe(_)
                | Expect::Quiet
                | Expect::QuietDescribe
                | Expect::OwnDescribe
                | Expect::CloseStatement(_)
                | Expect::ClosePortal(_)
                | Expect::CopyEnd
                | Expect::Sync
                | Expect::Refusal(_) => {}
            }
        }
        let why = match end {
            End::Terminated => "terminated by the client",
            End::ClientGone => "client connection lost",
            End::UpstreamGone => "database connection lost",
            End::Grant(ending) => &ending.reason,
            End::Protocol(_) => "protocol violation",
            End::Fatal(complaint) => &complaint.message,
            End::Unrecorded(_) => "the ledger could not be written",
        };
        self.log.closed(why);
    }
}

/// Resolves when the session must end: its grant ended, its grant's hard end passed, or the broker goes down.
async fn over(slot: &mut SessionSlot, grant: &Live, stop: &CancellationToken) -> Ending {
    tokio::select! {
        biased;
        ending = slot.ended() => ending,
        () = tokio::time::sleep_until(grant.deadlines.ends.into()) => {
            let origin = &grant.scope.limits.max_session.origin;
            Ending { kind: EndingKind::Expired, reason: format!("this grant has ended: max-session ({origin}) has passed") }
        }
        () = stop.cancelled() => {
            Ending { kind: EndingKind::Killed, reason: "the broker is shutting down".to_owned() }
        }
    }
}
