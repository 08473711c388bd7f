//! Logging in to the database as the broker: start-up message, SCRAM-SHA-256(-PLUS), up to ReadyForQuery.
//!
//! The start-up keys here are the session's pins: what `DISCARD ALL` goes back to, whatever a job set in between.

use bytes::{BufMut, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Link, Target, Transport, UpstreamFault, dial};
use crate::wire::frame::{self, Head};
use crate::wire::{Body, backend, frontend};

/// A hostile server's nonce is not allowed to grow beyond this.
const SASL_CAP: usize = 4096;
/// Iterations accepted from the server: below is weak, above pins a core.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// Settings every upstream session starts with. With other values the text the broker judges would not be the text
/// the server runs.
const PINS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("row_security", "on"),
    // If the broker itself dies, the server notices within this time and gives up what it runs for it.
    ("client_connection_check_interval", "2s"),
];

/// What a session upstream is called and limited to.
#[derive(Debug, Clone, Default)]
pub struct Dress {
    /// `application_name`: repository, run and job, at most 63 bytes.
    pub application: String,
    /// Further settings: the scope's timeouts, what the client chose at start-up. Of two for one name the later holds.
    pub settings: Vec<(String, String)>,
}

/// Opens a connection and logs in.
pub async fn login(target: &std::sync::Arc<Target>, dress: &Dress) -> Result<Link, UpstreamFault> {
    let transport = dial::dial(target).await?;
    tokio::time::timeout(dial::DEADLINE, Login::new(target, transport).run(dress))
        .await
        .map_err(|_| UpstreamFault::Unreachable {
            database: target.name.clone(),
            cause: "no login within 10 s".to_owned(),
        })?
}

struct Login<'a> {
    target: &'a std::sync::Arc<Target>,
    transport: Transport,
    inbound: BytesMut,
}

impl<'a> Login<'a> {
    fn new(target: &'a std::sync::Arc<Target>, transport: Transport) -> Self {
        Self {
            target,
            transport,
            inbound: BytesMut::with_capacity(4096),
        }
    }

    async fn run(mut self, dress: &Dress) -> Result<Link, UpstreamFault> {
        self.send(&startup(self.target, dress)).await?;
        let mut scram: Option<ScramSha256> = None;
        let mut authenticated = false;
        let mut parameters = Vec::new();
        let mut key = None;
        loop {
            let (tag, body) = self.next().await?;
            match tag {
                b'R' => authenticated |= self.authenticate(&body, &mut scram).await?,
                b'S' if authenticated => {
                    let (name, value) = backend::parameter(&body).map_err(|fault| self.protocol(&fault))?;
                    parameters.push((name.to_owned(), value.to_owned()));
                }
                b'K' if authenticated => {
                    key = Some(backend::key_data(&body).map_err(|fault| self.protocol(&fault))?);
                }
                b'N' => {}
                b'E' => {
                    let report = backend::report(&body).map_err(|fault| self.protocol(&fault))?;
                    let database = self.target.name.clone();
                    // Class 22 after the proof of who we are: a value of the start-up packet, not the login.
                    if authenticated && report.sqlstate.starts_with("22") {
                        let cause = format!("{} (SQLSTATE {})", report.message, report.sqlstate);
                        return Err(UpstreamFault::Setting { database, cause });
                    }
                    let sqlstate = report.sqlstate.to_owned();
                    return Err(UpstreamFault::Refused { database, sqlstate });
                }
                b'Z' if authenticated => break,
                _ => return Err(self.broken("unexpected message during login")),
            }
        }
        let (pid, secret) = key.ok_or_else(|| self.broken("no BackendKeyData"))?;
        Ok(Link::new(
            self.target.clone(),
            self.transport,
            self.inbound,
            pid,
            secret,
            parameters,
            dress.settings.clone(),
        ))
    }

    /// One step of authentication; true when it is over.
    async fn authenticate(&mut self, body: &[u8], scram: &mut Option<ScramSha256>) -> Result<bool, UpstreamFault> {
        let mut reader = Body::new("Authentication", body);
        let code = reader.int32().map_err(|fault| self.protocol(&fault))?;
        let asked = |asked| UpstreamFault::Authentication {
            database: self.target.name.clone(),
            asked,
        };
        match code {
            0 => {
                if scram.is_some() {
                    return Err(self.broken("login accepted before the server proved itself"));
                }
                Ok(true)
            }
            10 => {
                let exchange = self.begin(reader.rest())?;
                let mut out = BytesMut::new();
                let mechanism = if exchange.1 { SCRAM_SHA_256_PLUS } else { SCRAM_SHA_256 };
                frontend::frame(&mut out, b'p', |body| {
                    frontend::put_cstr(body, mechanism);
                    body.put_i32(i32::try_from(exchange.0.message().len()).unwrap_or(i32::MAX));
                    body.extend_from_slice(exchange.0.message());
                });
                *scram = Some(exchange.0);
                self.send(&out).await?;
                Ok(false)
            }
            11 => {
                let message = reader.rest();
                check_server_first(message).map_err(|cause| self.broken(cause))?;
                let exchange = scram
                    .as_mut()
                    .ok_or_else(|| self.broken("SASL continued before it began"))?;
                // One PBKDF2, a few milliseconds at PostgreSQL's default; the iteration cap above bounds it.
                exchange
                    .update(message)
                    .map_err(|_| self.broken("SASL challenge refused"))?;
                let mut out = BytesMut::new();
                frontend::frame(&mut out, b'p', |body| body.extend_from_slice(exchange.message()));
                self.send(&out).await?;
                Ok(false)
            }
            12 => {
                let mut exchange = scram.take().ok_or_else(|| self.broken("SASL ended before it began"))?;
                exchange
                    .finish(reader.rest())
                    .map_err(|_| self.broken("the server does not know the password"))?;
                Ok(false)
            }
            3 => Err(asked("clear-text password")),
            5 => Err(asked("MD5 password")),
            7 | 8 => Err(asked("GSSAPI")),
            9 => Err(asked("SSPI")),
            _ => Err(asked("an unknown kind of")),
        }
    }

    /// Chooses the mechanism: with TLS, -PLUS whenever it is offered, so that stripping it is noticed by the server.
    fn begin(&self, offered: &[u8]) -> Result<(ScramSha256, bool), UpstreamFault> {
        let has = |name: &str| offered.split(|&byte| byte == 0).any(|offer| offer == name.as_bytes());
        let binding = self.end_point();
        let password = self.target.session_password().expose().as_bytes();
        match binding {
            Some(digest) if has(SCRAM_SHA_256_PLUS) => Ok((
                ScramSha256::new(password, ChannelBinding::tls_server_end_point(digest)),
                true,
            )),
            Some(_) if has(SCRAM_SHA_256) => Ok((ScramSha256::new(password, ChannelBinding::unrequested()), false)),
            None if has(SCRAM_SHA_256) => Ok((ScramSha256::new(password, ChannelBinding::unsupported()), false)),
            _ => Err(UpstreamFault::Authentication {
                database: self.target.name.clone(),
                asked: "an unknown SASL",
            }),
        }
    }

    /// RFC 5929 `tls-server-end-point`: the server certificate under the hash of its own signature.
    fn end_point(&self) -> Option<Vec<u8>> {
        let Transport::Tls(tls) = &self.transport else {
            return None;
        };
        let certificate = tls.get_ref().1.peer_certificates()?.first()?;
        certificate_digest(certificate)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), UpstreamFault> {
        let written = async {
            self.transport.write_all(bytes).await?;
            self.transport.flush().await
        };
        written.await.map_err(|error| UpstreamFault::Unreachable {
            database: self.target.name.clone(),
            cause: error.to_string(),
        })
    }

    async fn next(&mut self) -> Result<(u8, BytesMut), UpstreamFault> {
        loop {
            let head = Head::peek(&self.inbound, |_| false).map_err(|fault| self.protocol(&fault))?;
            if let Some(head) = head.filter(|head| head.complete(self.inbound.len())) {
                let mut whole = self.inbound.split_to(head.total);
                return Ok((head.tag, whole.split_off(frame::HEADER)));
            }
            let read = self.transport.read_buf(&mut self.inbound).await;
            let unreachable = |cause: String| UpstreamFault::Unreachable {
                database: self.target.name.clone(),
                cause,
            };
            match read {
                Ok(0) => return Err(unreachable("closed during login".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(unreachable(error.to_string())),
            }
        }
    }

    fn broken(&self, cause: &str) -> UpstreamFault {
        UpstreamFault::Protocol {
            database: self.target.name.clone(),
            cause: cause.to_owned(),
        }
    }

    fn protocol(&self, fault: &crate::wire::WireFault) -> UpstreamFault {
        self.broken(&fault.to_string())
    }
}

/// The hash RFC 5929 asks for: SHA-256 in place of MD5 and SHA-1, else the signature's own.
pub fn certificate_digest(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    Some(match algorithm.as_str() {
        // sha384WithRSAEncryption, ecdsa-with-SHA384
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(der).to_vec(),
        // sha512WithRSAEncryption, ecdsa-with-SHA512
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(der).to_vec(),
        _ => Sha256::digest(der).to_vec(),
    })
}

fn check_server_first(message: &[u8]) -> Result<(), &'static str> {
    if message.len() > SASL_CAP {
        return Err("oversized SASL challenge");
    }
    let text = std::str::from_utf8(message).map_err(|_| "SASL challenge is not text")?;
    let iterations = text
        .split(',')
        .find_map(|field| field.strip_prefix("i="))
        .and_then(|count| count.parse().ok());
    match iterations {
        Some(count) if ITERATIONS.contains(&count) => Ok(()),
        _ => Err("SASL iteration count out of bounds"),
    }
}

fn startup(target: &Target, dress: &Dress) -> BytesMut {
    let mut out = BytesMut::with_capacity(512);
    out.put_u32(0);
    out.put_u32(196_608);
    let mut pair = |name: &str, value: &str| {
        frontend::put_cstr(&mut out, name);
        frontend::put_cstr(&mut out, value);
    };
    pair("user", target.session_user());
    pair("database", &target.database);
    pair("application_name", &dress.application);
    for (name, value) in PINS {
        pair(name, value);
    }
    for (name, value) in &dress.settings {
        pair(name, value);
    }
    if let Some(role) = target.role() {
        // The login's own setting says the same; here a role that cannot be entered refuses the login.
        pair("role", role);
    }
    out.put_u8(0);
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(..4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_challenge_is_refused_before_any_hashing() {
        assert!(check_server_first(b"r=abc,s=QQ==,i=4096").is_ok());
        for bad in [
            "r=abc,s=QQ==,i=1",
            "r=abc,s=QQ==,i=4000000000",
            "r=abc,s=QQ==",
            "r=abc,s=QQ==,i=x",
        ] {
            assert!(check_server_first(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check_server_first(&vec![b'a'; SASL_CAP + 1]).is_err());
    }
}
