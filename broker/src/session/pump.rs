//! Moving bytes: both sockets, both directions, one poll. Reads only what there is room for, writes whatever waits.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// What an idle direction keeps: small, because there may be thousands of idle sessions.
const SMALL: usize = 4 * 1024;
/// What a busy direction grows to.
const LARGE: usize = 128 * 1024;
/// Beyond this backlog the other side is not read: back-pressure instead of memory.
pub const BACKLOG: usize = 256 * 1024;

thread_local! {
    /// Where a session that holds no buffer reads to: it keeps a copy of just the bytes that came.
    static DESK: RefCell<[u8; SMALL]> = const { RefCell::new([0; SMALL]) };
}

/// One peer as the pump sees it: a socket and its two buffers.
#[derive(Debug)]
pub struct Side<'a, T> {
    /// The socket.
    pub io: &'a mut T,
    /// Read and not yet handled.
    pub inbound: &'a mut BytesMut,
    /// Handled and not yet written.
    pub outbound: &'a mut BytesMut,
    /// Whether there is room to read.
    pub read: bool,
    /// Whether the other side waits for this side's backlog to shrink before it is read again.
    pub awaited: bool,
}

/// What moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes came in.
    pub read: bool,
    /// A backlog was written down that the other side waits for.
    pub drained: bool,
    /// The peer closed its sending side.
    pub closed: bool,
}

/// Polls one side: writes what waits, then reads if there is room. Ready when anything the session must look at moved.
pub fn poll_side<T>(cx: &mut Context<'_>, side: &mut Side<'_, T>) -> Poll<io::Result<Moved>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut moved = Moved::default();
    if !side.outbound.is_empty() {
        poll_write(cx, side.io, side.outbound)?;
    }
    if side.outbound.is_empty()
        && let Poll::Ready(flushed) = Pin::new(&mut *side.io).poll_flush(cx)
    {
        // Asked on every poll: TLS may hold bytes that the socket did not take the last time.
        flushed?;
    }
    // However many polls it took: nothing else would wake the peer that is held.
    moved.drained = side.awaited && side.outbound.len() < BACKLOG;
    if side.read {
        match poll_read(cx, side.io, side.inbound)? {
            Poll::Ready(0) => moved.closed = true,
            Poll::Ready(_) => moved.read = true,
            Poll::Pending => {}
        }
    }
    if moved == Moved::default() {
        Poll::Pending
    } else {
        Poll::Ready(Ok(moved))
    }
}

/// Writes as much as the socket takes.
fn poll_write<T: AsyncWrite + Unpin>(cx: &mut Context<'_>, io: &mut T, outbound: &mut BytesMut) -> io::Result<()> {
    while !outbound.is_empty() {
        match Pin::new(&mut *io).poll_write(cx, outbound) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => outbound.advance(written),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(()),
        }
    }
    // Give the memory back: an idle session holds no write buffer.
    *outbound = BytesMut::new();
    Ok(())
}

fn poll_read<T: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    io: &mut T,
    inbound: &mut BytesMut,
) -> io::Result<Poll<usize>> {
    if inbound.is_empty() && inbound.capacity() < SMALL {
        return poll_read_afresh(cx, io, inbound);
    }
    if inbound.capacity() - inbound.len() < SMALL / 2 {
        // A buffer that is full before its frames are handled is a bulk transfer: read in bigger pieces.
        inbound.reserve(if inbound.len() < SMALL { SMALL } else { LARGE });
    }
    match poll_read_buf(Pin::new(io), cx, inbound) {
        Poll::Ready(Ok(count)) => {
            if inbound.len() == inbound.capacity() && inbound.capacity() <= LARGE {
                inbound.reserve(LARGE);
            }
            Ok(Poll::Ready(count))
        }
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => {
            if inbound.is_empty() {
                // An idle session holds no read buffer.
                *inbound = BytesMut::new();
            }
            Ok(Poll::Pending)
        }
    }
}

/// Reads for a session whose buffer is empty. One allocation of the size that came, and none when nothing came.
fn poll_read_afresh<T: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    io: &mut T,
    inbound: &mut BytesMut,
) -> io::Result<Poll<usize>> {
    DESK.with_borrow_mut(|desk| {
        let mut read = ReadBuf::new(desk);
        match Pin::new(io).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) => {
                let came = read.filled();
                *inbound = BytesMut::from(came);
                if came.len() == SMALL {
                    inbound.reserve(LARGE);
                }
                Ok(Poll::Ready(came.len()))
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => {
                *inbound = BytesMut::new();
                Ok(Poll::Pending)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn a_backlog_written_in_small_steps_frees_the_held_peer() {
        let (mut io, mut far) = tokio::io::duplex(1024);
        let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::zeroed(BACKLOG + 5000));
        let reader = tokio::spawn(async move {
            let mut sink = vec![0; 64 * 1024];
            while far.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        });
        let mut side = Side {
            io: &mut io,
            inbound: &mut inbound,
            outbound: &mut outbound,
            read: false,
            awaited: true,
        };
        let moved = std::future::poll_fn(|cx| poll_side(cx, &mut side)).await.unwrap();
        assert!(moved.drained);
        assert!(outbound.len() < BACKLOG);
        drop(io);
        reader.await.unwrap();
    }
}
