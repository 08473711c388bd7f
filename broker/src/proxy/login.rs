//! SCRAM-SHA-256 and -PLUS with the client, against the grant's stored verifier. A user name nobody has gets the same
//! transcript against a verifier nobody knows the password of.

use bytes::{Bytes, BytesMut};
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::messages::startup::Authentication;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Tls;
use crate::scram::Verifier;
use crate::upstream::Transport;
use crate::wire::frame::{HEADER, Head};
use crate::wire::{Body, WireFault, answer};

const PLUS: &str = "SCRAM-SHA-256-PLUS";
const PLAIN: &str = "SCRAM-SHA-256";
/// No SASL message of a well-meaning client is longer.
const SASL_CAP: usize = 4096;

/// Why a login failed.
pub enum Failed {
    /// The connection broke.
    Silent,
    /// The password is wrong, or the user does not exist: nobody can tell which.
    Password,
    /// The client broke the protocol.
    Protocol(WireFault),
}

impl From<std::io::Error> for Failed {
    fn from(_: std::io::Error) -> Self {
        Self::Silent
    }
}

impl From<WireFault> for Failed {
    fn from(fault: WireFault) -> Self {
        Self::Protocol(fault)
    }
}

/// Runs the exchange. On success the last SASL message is left in `greeting`, to be sent with what follows it.
pub async fn login(
    client: &mut Transport,
    inbound: &mut BytesMut,
    greeting: &mut BytesMut,
    verifier: &Verifier,
    tls: Option<&Tls>,
) -> Result<(), Failed> {
    let tls = tls.filter(|_| client.is_tls());
    let mut scram = ScramServerAuth::new();
    let mut offered = vec![PLAIN.to_owned()];
    if let Some(tls) = tls
        && scram.configure_certificate(&tls.certificate_pem).is_ok()
    {
        offered.insert(0, PLUS.to_owned());
    }
    send(client, Authentication::SASL(offered.clone())).await?;

    let first = response(client, inbound).await?;
    let mut reader = Body::new("SASLInitialResponse", &first);
    let mechanism = reader.cstr()?;
    let length = usize::try_from(reader.int32()?).map_err(|_| reader.malformed())?;
    let message = reader.bytes(length)?;
    reader.clone().end()?;
    // The mechanism and the channel-binding flag must tell the same story.
    let binds = message.starts_with(b"p=");
    if !offered.iter().any(|offer| offer == mechanism) || binds != (mechanism == PLUS) {
        return Err(Failed::Protocol(WireFault::Malformed("SASLInitialResponse")));
    }
    let (challenge, waiting) = scram
        .on_client_first_message_with_secret(message, verifier.to_secret())
        .map_err(|_| Failed::Protocol(WireFault::Malformed("SASLInitialResponse")))?;
    send(
        client,
        Authentication::SASLContinue(Bytes::from(challenge.into_bytes())),
    )
    .await?;

    let last = response(client, inbound).await?;
    let proof = waiting.on_client_final_message(&last).map_err(|_| Failed::Password)?;
    answer::put_authentication(greeting, Authentication::SASLFinal(Bytes::from(proof.into_bytes())));
    answer::put_authentication(greeting, Authentication::Ok);
    Ok(())
}

async fn send(client: &mut Transport, step: Authentication) -> Result<(), Failed> {
    let mut out = BytesMut::new();
    answer::put_authentication(&mut out, step);
    client.write_all(&out).await?;
    Ok(client.flush().await?)
}

/// The body of the client's next `p` message.
async fn response(client: &mut Transport, inbound: &mut BytesMut) -> Result<BytesMut, Failed> {
    loop {
        if let Some(head) = Head::peek(inbound, |_| false)? {
            if head.tag != b'p' {
                return Err(Failed::Protocol(WireFault::Unexpected(char::from(head.tag))));
            }
            if head.total > SASL_CAP {
                return Err(Failed::Protocol(WireFault::Malformed("SASLResponse")));
            }
            if head.complete(inbound.len()) {
                let mut message = inbound.split_to(head.total);
                return Ok(message.split_off(HEADER));
            }
        }
        if client.read_buf(inbound).await? == 0 {
            return Err(Failed::Silent);
        }
    }
}
