//! COPY … FROM STDIN and other messages too big to hold: data that streams past, or into nothing.

use bytes::BytesMut;

use super::pending::{Expect, Run};
use super::{Copy, End, Onward, Session};
use crate::wire::answer::{Complaint, put_copy_in};
use crate::wire::frame::Head;
use crate::wire::frontend::put_bare;

impl<C> Session<C> {
    /// A refused COPY … FROM STDIN must not be answered by a plain error: psql before 15.19 would go on to run the
    /// data lines as SQL. The data is taken in and thrown away, then the refusal follows.
    pub(super) fn refuse_copy_in(&mut self, before: &[Run], complaint: Complaint) -> Result<(), End> {
        if !before.is_empty() || !self.pending.is_empty() || self.script.is_some() {
            // Behind other statements their answers would have to come first: end the connection instead.
            for run in before {
                self.log.failed(run, None);
            }
            return Err(End::Fatal(Box::new(Complaint {
                severity: "FATAL",
                ..complaint
            })));
        }
        put_copy_in(&mut self.outbound);
        self.copy = Copy::Swallow(Box::new(complaint));
        Ok(())
    }

    /// COPY data passes, is swallowed, or is stray and dropped; it is streamed, whatever its size.
    pub(super) fn copy_data(&mut self, head: Head) {
        let have = self.inbound.len().min(head.total);
        if let Copy::Open { permit, .. } = &self.copy
            && !self.skipping
        {
            let onward = Onward::For(permit.clone());
            let data = self.inbound.split_to(have);
            self.pass(data, &onward);
            self.client_stream = (head.total - have, onward);
        } else {
            // Outside COPY the server ignores stray data as well: a COPY that failed early leaves some behind.
            self.stream_off(head.total);
        }
    }

    /// CopyDone or CopyFail.
    pub(super) fn copy_end(&mut self, message: BytesMut) {
        match std::mem::replace(&mut self.copy, Copy::Idle) {
            Copy::Open { permit, .. } if !self.skipping => {
                self.pending.push_back(Expect::CopyEnd);
                self.link.send(&permit, message);
                if self.guard.holds() || self.script.is_some() {
                    // Sent with Execute: the server would keep its answer until a Sync that waits for it.
                    let mut flush = BytesMut::new();
                    put_bare(&mut flush, b'H');
                    self.link.send_own(flush);
                }
            }
            Copy::Swallow(complaint) => self.refuse_query("", *complaint, Vec::new()),
            Copy::Open { .. } | Copy::Idle => {}
        }
    }

    /// Goes on with a streamed message: whatever is here of it.
    pub(super) fn stream_on(&mut self) {
        let (left, onward) = std::mem::replace(&mut self.client_stream, (0, Onward::Drop));
        let have = self.inbound.len().min(left);
        let data = self.inbound.split_to(have);
        self.pass(data, &onward);
        self.client_stream = (left - have, onward);
    }

    /// Passes a piece of a streamed message on, or drops it.
    pub(super) fn pass(&mut self, data: BytesMut, onward: &Onward) {
        self.log.bytes_in += u64::try_from(data.len()).unwrap_or(u64::MAX);
        match onward {
            Onward::Drop => {}
            Onward::Own => self.link.send_own(data),
            Onward::For(permit) => self.link.send(permit, data),
        }
    }

    /// Drops a streamed message of `total` bytes, however much of it is here.
    pub(super) fn stream_off(&mut self, total: usize) {
        let have = self.inbound.len().min(total);
        let _dropped = self.inbound.split_to(have);
        self.client_stream = (total - have, Onward::Drop);
    }
}
