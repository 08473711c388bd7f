//! The HTTP listener: accepts without ever waiting for a caller, shakes hands in the caller's own task, and bounds how
//! long and how often anybody may hold a connection.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::Peer;

const HANDSHAKE: Duration = Duration::from_secs(5);
/// Also how long a kept-alive connection may stay idle.
const HEADERS: Duration = Duration::from_secs(10);
/// Room for a 16 KiB token and the headers around it.
const HEADER_BYTES: usize = 64 * 1024;
/// What is left of requests at shutdown gets this long.
const GRACE: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 2048;
const CONNECTIONS_PER_ADDRESS: usize = 256;

/// Serves until `stop`, then lets the requests in progress finish.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, router: Router, stop: CancellationToken) {
    let door = Arc::new(Door {
        tls: tls.map(TlsAcceptor::from),
        router,
        stop,
    });
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    let callers = Arc::new(Callers::default());
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = door.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come back instead of spinning.
                tracing::warn!(%error, "the HTTP listener could not accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Over a bound the connection is closed at once: waiting here would keep everybody else out.
        let (Ok(seat), Some(caller)) = (
            Arc::clone(&seats).try_acquire_owned(),
            Callers::enter(&callers, peer.ip()),
        ) else {
            tracing::debug!(%peer, "too many HTTP connections");
            continue;
        };
        let door = Arc::clone(&door);
        tasks.spawn(async move {
            door.welcome(stream, peer).await;
            drop((seat, caller));
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(GRACE + Duration::from_secs(1), tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(left = tasks.len(), "HTTP connections were cut at shutdown");
    }
}

struct Door {
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
}

impl Door {
    async fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are small and whole; waiting to fill a segment only adds latency.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = &self.tls else {
            return self.talk(stream, peer).await;
        };
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.talk(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        let router = self.router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP connection failed");
        }
    }
}

/// How many connections each address holds.
#[derive(Default)]
struct Callers(Mutex<HashMap<IpAddr, usize>>);

impl Callers {
    fn enter(callers: &Arc<Self>, address: IpAddr) -> Option<Caller> {
        let mut held = callers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(address).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Caller {
            callers: Arc::clone(callers),
            address,
        })
    }
}

struct Caller {
    callers: Arc<Callers>,
    address: IpAddr,
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut held = self.callers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn router() -> Router {
        Router::new().route("/healthz", axum::routing::get(|| async { "ok\n" }))
    }

    #[tokio::test]
    async fn the_listener_serves_others_while_one_says_nothing_and_stops_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, None, router(), stop.clone()));
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET /healthz HT").await.unwrap();
        let mut garbage = TcpStream::connect(address).await.unwrap();
        garbage.write_all(&[0x16, 0x03, 0x01, 0xff, 0x00]).await.unwrap();
        let mut talk = TcpStream::connect(address).await.unwrap();
        talk.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        talk.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("ok\n"), "{text}");
        drop(silent);
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(12), server)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn tls_is_spoken_while_another_never_finishes_its_handshake() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let ours = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Some(Arc::new(ours)), router(), stop.clone()));
        let silent = TcpStream::connect(address).await.unwrap();
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
        let mut refused = Vec::new();
        plain.read_to_end(&mut refused).await.unwrap();
        assert!(
            !refused.starts_with(b"HTTP"),
            "plain HTTP is not answered on a TLS port"
        );

        let stream = TcpStream::connect(address).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let mut stream = connector.connect(name, stream).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        drop(silent);
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(12), serving)
            .await
            .unwrap()
            .unwrap();
    }
}
