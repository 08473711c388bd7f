//! `hoop-db dev issuer`: a local OIDC issuer with real keys and GitHub- or GitLab-shaped claims, for the demo and for
//! anybody's tests. It signs whatever it is asked to: nothing but a test may trust it.

mod http;
mod keys;
mod shapes;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use http::Mode;
pub use shapes::Shape;

use self::keys::SigningKeys;
use crate::base::clock::Clock;
use crate::base::secret::{NoRandomness, Secret, random_base62};

/// What can keep the dev issuer from working.
#[derive(Debug, thiserror::Error)]
pub enum DevIssuerError {
    /// It serves this machine only: whoever reaches it can be anybody.
    #[error("the dev issuer listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The port cannot be had.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A key could not be made or used.
    #[error("a key could not be made or used")]
    Crypto,
    /// No key signs that way.
    #[error("the dev issuer cannot sign with `{0}`")]
    Algorithm(String),
    /// No random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// A `name=value` without the `=`.
    #[error("`{0}` is not name=value")]
    NotAClaim(String),
}

/// The command line of `hoop-db dev issuer`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Whose tokens to imitate.
    #[arg(long, value_enum, default_value_t = Shape::Github)]
    pub shape: Shape,
    /// The audience of tokens asked for without one.
    #[arg(long, default_value = "hoop-db-access")]
    pub audience: String,
    /// A claim of every token, as name=value; an empty value takes the claim out.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
}

/// A running issuer. It stops when dropped.
#[derive(Debug)]
pub struct DevIssuer {
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    url: String,
    shape: Shape,
    audience: String,
    clock: Clock,
    request_token: Secret,
    /// Claims of every token, over the shape's own.
    defaults: Map<String, Value>,
    state: Mutex<Changing>,
    discoveries: AtomicU64,
    key_fetches: AtomicU64,
}

#[derive(Debug)]
struct Changing {
    mode: Mode,
    keys: Arc<SigningKeys>,
    /// What [`Mode::WrongKeys`] publishes.
    impostor: Option<Arc<SigningKeys>>,
    /// Entries published beside the keys.
    extra: Vec<Value>,
}

impl DevIssuer {
    /// Starts an issuer of GitHub-shaped tokens on a loopback address. Must be called inside a tokio runtime.
    pub async fn start(addr: SocketAddr, clock: Clock) -> Result<Self, DevIssuerError> {
        let args = Args {
            listen: addr,
            shape: Shape::Github,
            audience: "hoop-db-access".into(),
            claims: Vec::new(),
        };
        Self::serve(&args, clock).await
    }

    /// Starts the issuer the command line describes.
    pub async fn serve(args: &Args, clock: Clock) -> Result<Self, DevIssuerError> {
        let addr = args.listen;
        if !addr.ip().is_loopback() {
            return Err(DevIssuerError::NotLoopback(addr));
        }
        let listen = |source| DevIssuerError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(listen)?;
        let url = format!("http://{}", listener.local_addr().map_err(listen)?);
        let mut defaults = Map::new();
        for claim in &args.claims {
            let (name, value) = claim
                .split_once('=')
                .ok_or_else(|| DevIssuerError::NotAClaim(claim.clone()))?;
            let value = if value.is_empty() { Value::Null } else { value.into() };
            defaults.insert(name.to_owned(), value);
        }
        let inner = Arc::new(Inner {
            url,
            shape: args.shape,
            audience: args.audience.clone(),
            clock,
            request_token: Secret::new(random_base62(40)?),
            defaults,
            state: Mutex::new(Changing {
                mode: Mode::Healthy,
                keys: Arc::new(SigningKeys::generate()?),
                impostor: None,
                extra: Vec::new(),
            }),
            discoveries: AtomicU64::new(0),
            key_fetches: AtomicU64::new(0),
        });
        let routes = http::routes(Arc::clone(&inner));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the dev issuer stopped");
            }
        });
        Ok(Self { inner, server })
    }

    /// Its `iss`, and the base of its discovery document.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// What a runner finds in `ACTIONS_ID_TOKEN_REQUEST_URL`: like GitHub's it already has a query.
    pub fn request_url(&self) -> String {
        format!("{}/token?api-version=2.0", self.inner.url)
    }

    /// What a runner finds in `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub fn request_token(&self) -> &Secret {
        &self.inner.request_token
    }

    /// What the command prints: how to use it. The request token in it opens nothing but this process.
    pub fn banner(&self) -> String {
        format!(
            "issuer    {url}\nexport ACTIONS_ID_TOKEN_REQUEST_URL='{request}'\nexport ACTIONS_ID_TOKEN_REQUEST_TOKEN='{token}'\n\
             curl -sS -H \"Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN\" \
             \"$ACTIONS_ID_TOKEN_REQUEST_URL&audience={audience}\"\n",
            url = self.inner.url,
            request = self.request_url(),
            token = self.inner.request_token.expose(),
            audience = self.inner.audience,
        )
    }

    /// A GitHub-shaped token; `overrides` is an object, null takes a claim out.
    pub fn github(&self, overrides: &Value) -> Result<String, DevIssuerError> {
        self.inner.mint(Shape::Github, &object(overrides))
    }

    /// A GitLab-shaped token; `overrides` is an object, null takes a claim out.
    pub fn gitlab(&self, overrides: &Value) -> Result<String, DevIssuerError> {
        self.inner.mint(Shape::Gitlab, &object(overrides))
    }

    /// The claims such a token would carry, to be changed and given to [`DevIssuer::sign`].
    pub fn claims(&self, shape: Shape, overrides: &Value) -> Result<Map<String, Value>, DevIssuerError> {
        self.inner.claims(shape, &object(overrides))
    }

    /// Signs any header and any claims, with the key that fits the header's `alg`.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String, DevIssuerError> {
        let alg = header.get("alg").and_then(Value::as_str).unwrap_or_default();
        self.sign_text(alg, &header.to_string(), &claims.to_string())
    }

    /// Signs any two texts, JSON or not, with the key that fits `alg`.
    pub fn sign_text(&self, alg: &str, header: &str, claims: &str) -> Result<String, DevIssuerError> {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.inner.state().keys.sign(alg, message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The `kid` of the RSA key.
    pub fn rsa_kid(&self) -> String {
        self.inner.state().keys.rsa_kid.clone()
    }

    /// The `kid` of the P-256 key.
    pub fn ec_kid(&self) -> String {
        self.inner.state().keys.ec_kid.clone()
    }

    /// The key set it publishes now.
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.inner.published() })
    }

    /// Publishes another entry beside its keys.
    pub fn publish(&self, entry: Value) {
        self.inner.state().extra.push(entry);
    }

    /// Makes new keys under new names and publishes only those.
    pub fn rotate(&self) -> Result<(), DevIssuerError> {
        let keys = Arc::new(SigningKeys::generate()?);
        self.inner.state().keys = keys;
        Ok(())
    }

    /// Changes how it behaves.
    pub fn set_mode(&self, mode: Mode) -> Result<(), DevIssuerError> {
        let impostor = if mode == Mode::WrongKeys {
            Some(Arc::new(SigningKeys::named(self.rsa_kid(), self.ec_kid())?))
        } else {
            None
        };
        let mut state = self.inner.state();
        state.mode = mode;
        state.impostor = impostor;
        Ok(())
    }

    /// How often its discovery document was asked for.
    pub fn discoveries(&self) -> u64 {
        self.inner.discoveries.load(Ordering::Relaxed)
    }

    /// How often its keys were asked for.
    pub fn key_fetches(&self) -> u64 {
        self.inner.key_fetches.load(Ordering::Relaxed)
    }
}

impl Drop for DevIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, Changing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode(&self) -> Mode {
        self.state().mode
    }

    fn published(&self) -> Vec<Value> {
        let state = self.state();
        let mut keys = state.impostor.as_ref().unwrap_or(&state.keys).public();
        if state.mode == Mode::BadKeyInSet {
            let broken = [
                json!(7),
                json!({ "kty": "RSA" }),
                json!({ "kty": "EC", "kid": "x", "crv": "P-256", "x": "A" }),
            ];
            keys.splice(0..0, broken);
        }
        keys.extend(state.extra.iter().cloned());
        keys
    }

    fn claims(&self, shape: Shape, overrides: &Map<String, Value>) -> Result<Map<String, Value>, DevIssuerError> {
        let mut all = self.defaults.clone();
        all.extend(overrides.iter().map(|(name, value)| (name.clone(), value.clone())));
        shapes::claims(shape, &self.url, &self.audience, self.clock.now(), &all)
    }

    fn mint(&self, shape: Shape, overrides: &Map<String, Value>) -> Result<String, DevIssuerError> {
        let claims = Value::Object(self.claims(shape, overrides)?);
        let keys = Arc::clone(&self.state().keys);
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": keys.rsa_kid });
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = keys.sign("RS256", message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
