//! The broker's HTTP API as a client sees it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::secret::{Secret, random_base62};

/// Which broker to talk to.
#[derive(Debug, clap::Args)]
pub struct BrokerArgs {
    /// The broker's public URL.
    #[arg(long, env = "HOOP_BROKER_URL", value_name = "URL")]
    pub broker: String,
    /// A PEM file with the certificate authority to trust, instead of the system's.
    #[arg(long, env = "HOOP_CA", value_name = "PATH")]
    pub ca: Option<PathBuf>,
}

/// A broker.
#[derive(Debug)]
pub struct Api {
    base: String,
    client: reqwest::Client,
}

/// A refusal or failure, with everything the broker said about it.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// The problem document.
    pub document: Value,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A field of the document.
    pub fn field(&self, pointer: &str) -> Option<&str> {
        self.document.pointer(pointer).and_then(Value::as_str)
    }

    fn text(&self) -> String {
        let field = |name: &str| self.field(name).map(str::to_owned);
        let mut text = format!(
            "{}: {}",
            field("/code").unwrap_or_else(|| format!("HTTP {}", self.status)),
            field("/detail")
                .or_else(|| field("/title"))
                .unwrap_or_else(|| "no explanation".to_owned())
        );
        if let (Some(path), Some(line)) = (field("/policy/path"), self.document.pointer("/policy/line")) {
            let _infallible = write!(text, "\n  at {path}:{line}");
        }
        for (label, pointer) in [("expected", "/expected"), ("actual", "/actual")] {
            if let Some(value) = self.document.pointer(pointer).filter(|value| !value.is_null()) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let _infallible = write!(text, "\n  {label}: {value}");
            }
        }
        if let Some(fix) = field("/fix") {
            let _infallible = write!(text, "\n  fix: {fix}");
        }
        text
    }
}

/// What a job asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The scope.
    pub scope: &'a str,
    /// A shorter lifetime.
    pub ttl: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// The member that carries the proof key of a token that may be used again.
    pub proof: Option<&'a (&'static str, String)>,
}

/// A name for a request for a grant.
pub fn request_key() -> Result<String> {
    Ok(random_base62(43)?)
}

/// A minted grant, as far as the command line uses it.
#[derive(Debug, Clone, Deserialize)]
pub struct Minted {
    /// The grant.
    pub grant: GrantPart,
    /// Its endpoint.
    pub endpoint: EndpointPart,
    /// What revokes it.
    pub revoke_token: String,
    /// Who enforces its scope.
    pub enforcement: Option<EnforcementPart>,
}

/// The `enforcement` member.
#[derive(Debug, Clone, Deserialize)]
pub struct EnforcementPart {
    /// What is to be known where it is not everybody who could.
    pub caveat: Option<String>,
}

/// The `grant` member.
#[derive(Debug, Clone, Deserialize)]
pub struct GrantPart {
    /// Its id.
    pub id: String,
    /// Its scope.
    pub scope: String,
    /// New connections end here.
    pub expires_at: String,
}

/// The `endpoint` member.
#[derive(Debug, Clone, Deserialize)]
pub struct EndpointPart {
    /// Host name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The operator's name of the database.
    pub database: String,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// `verify-full` or `disable`.
    pub sslmode: String,
    /// What to trust, in PEM; the system's authorities when absent.
    pub ca: Option<String>,
    /// The connect string.
    pub url: String,
}

impl Api {
    /// A client for the broker of `args`.
    pub fn new(args: &BrokerArgs) -> Result<Self> {
        let base = args.broker.trim_end_matches('/').to_owned();
        let url = url::Url::parse(&base).with_context(|| format!("{base:?} is not a URL"))?;
        let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            bail!("the broker's URL must be https:// (http:// is accepted for loopback only)");
        }
        let mut builder = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &args.ca {
            let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        Ok(Self {
            base,
            client: builder.build()?,
        })
    }

    /// The audience to ask a token for: what the broker says an issuer of `kind` must be asked for.
    pub async fn audience(&self, kind: &str) -> Result<Option<String>> {
        let document = self
            .call(self.client.get(format!("{}/.well-known/hoop-db-access", self.base)))
            .await?;
        let issuers = document
            .get("issuers")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let of_kind = issuers
            .iter()
            .find(|issuer| issuer.get("kind").and_then(Value::as_str) == Some(kind));
        Ok(of_kind
            .and_then(|issuer| issuer.get("audience"))
            .and_then(Value::as_str)
            .map(str::to_owned))
    }

    /// Asks for a grant; `key` names the request, so that [`Api::abandon`] can take it back when no answer came.
    pub async fn open(&self, token: &Secret, key: &str, ask: &Ask<'_>) -> Result<Minted> {
        let mut body = json!({ "scope": ask.scope });
        if let Some(object) = body.as_object_mut() {
            let proof = ask.proof.map(|(name, value)| (*name, Some(value.as_str())));
            for (key, value) in [("ttl", ask.ttl), ("reason", ask.reason)].into_iter().chain(proof) {
                if let Some(value) = value {
                    object.insert(key.to_owned(), Value::from(value));
                }
            }
        }
        let request = self
            .client
            .post(format!("{}/v1/grants", self.base))
            .bearer_auth(token.expose())
            .header("Idempotency-Key", key)
            .json(&body);
        let answer = self.call(request).await?;
        serde_json::from_value(answer).with_context(|| format!("broker-unreachable: {} is not a broker", self.base))
    }

    /// Ends whatever grant the request named `key` got.
    pub async fn abandon(&self, key: &str) -> Result<Value> {
        self.call(
            self.client
                .delete(format!("{}/v1/grants", self.base))
                .header("Idempotency-Key", key),
        )
        .await
    }

    /// Revokes a grant; the totals of what it did.
    pub async fn revoke(&self, id: &str, revoke_token: &str) -> Result<Value> {
        self.call(
            self.client
                .delete(format!("{}/v1/grants/{id}", self.base))
                .bearer_auth(revoke_token),
        )
        .await
    }

    /// Ends grants as the operator.
    pub async fn kill(&self, operator_token: &str, target: &Value) -> Result<Value> {
        self.call(
            self.client
                .post(format!("{}/v1/kill", self.base))
                .bearer_auth(operator_token)
                .json(target),
        )
        .await
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let answer = request
            .send()
            .await
            .with_context(|| format!("broker-unreachable: no answer from {}", self.base))?;
        let status = answer.status();
        let seconds = answer
            .headers()
            .get(reqwest::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let retry_after = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let text = answer
            .text()
            .await
            .context("broker-unreachable: the answer broke off")?;
        let document = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(document);
        }
        Err(Problem {
            status: status.as_u16(),
            document,
            retry_after,
        }
        .into())
    }
}
