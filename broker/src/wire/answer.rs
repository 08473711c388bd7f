//! What the broker itself says to a client, encoded by `pgwire`.

use bytes::BytesMut;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::CopyInResponse;
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{Authentication, NegotiateProtocolVersion, ParameterStatus};

/// An error or notice of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// `ERROR` or `FATAL`.
    pub severity: &'static str,
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// The message.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
}

impl Complaint {
    /// An error that ends the connection.
    pub fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: "FATAL",
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// An error that ends one statement.
    pub fn error(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: "ERROR",
            ..Self::fatal(sqlstate, message)
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Appends the ErrorResponse: both severities (drivers compare the one that is never translated), then the rest.
    pub fn put(&self, out: &mut BytesMut) {
        super::frontend::frame(out, b'E', |body| {
            let mut field = |kind: u8, text: &str| {
                body.extend_from_slice(&[kind]);
                body.extend_from_slice(text.replace('\0', "").as_bytes());
                body.extend_from_slice(&[0]);
            };
            field(b'S', self.severity);
            field(b'V', self.severity);
            field(b'C', self.sqlstate);
            field(b'M', &self.message);
            if let Some(detail) = &self.detail {
                field(b'D', detail);
            }
            if let Some(hint) = &self.hint {
                field(b'H', hint);
            }
            body.extend_from_slice(&[0]);
        });
    }
}

/// Appends one message.
pub fn put(out: &mut BytesMut, message: &PgWireBackendMessage) {
    // Encoding fails only on lengths beyond i32, which nothing here can reach.
    let before = out.len();
    if message.encode(out).is_err() {
        out.truncate(before);
    }
}

/// Appends AuthenticationOk.
pub fn put_authentication(out: &mut BytesMut, step: Authentication) {
    put(out, &PgWireBackendMessage::Authentication(step));
}

/// Appends a ParameterStatus.
pub fn put_parameter(out: &mut BytesMut, name: &str, value: &str) {
    put(
        out,
        &PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value.to_owned())),
    );
}

/// Appends a BackendKeyData: the real process id upstream, a secret of ours.
pub fn put_key_data(out: &mut BytesMut, pid: u32, secret: &[u8]) {
    super::frontend::frame(out, b'K', |body| {
        body.extend_from_slice(&pid.to_be_bytes());
        body.extend_from_slice(secret);
    });
}

/// Appends a NegotiateProtocolVersion: the newest minor version we speak and the `_pq_.` keys we do not know.
pub fn put_negotiate(out: &mut BytesMut, newest_minor: i32, unknown: Vec<String>) {
    put(
        out,
        &PgWireBackendMessage::NegotiateProtocolVersion(NegotiateProtocolVersion::new(newest_minor, unknown)),
    );
}

/// Appends a ReadyForQuery outside any transaction.
pub fn put_ready_idle(out: &mut BytesMut) {
    put(
        out,
        &PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(TransactionStatus::Idle)),
    );
}

/// Appends a CopyInResponse in text format without columns: the start of swallowing a refused COPY's data.
pub fn put_copy_in(out: &mut BytesMut) {
    put(
        out,
        &PgWireBackendMessage::CopyInResponse(CopyInResponse::new(0, 0, Vec::new())),
    );
}
