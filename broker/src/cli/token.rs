//! Where a job's OIDC token comes from: GitHub's request URL, GitLab's `id_tokens:` variable, a file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::base::secret::Secret;

/// Where to take the token from. Without any of these: GitHub Actions' request URL when it is there, else the
/// environment variable `HOOP_ID_TOKEN`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The environment variable that holds the token (GitLab: the name under `id_tokens:`).
    #[arg(long, value_name = "NAME")]
    pub token_env: Option<String>,
    /// A file that holds the token.
    #[arg(long, value_name = "PATH", conflicts_with = "token_env")]
    pub token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// Whether every request gets a token of its own, as on GitHub; elsewhere a job has one.
    pub fn fresh_each_time(&self) -> bool {
        self.token_file.is_none()
            && self.token_env.is_none()
            && std::env::var_os("ACTIONS_ID_TOKEN_REQUEST_URL").is_some()
    }

    /// The token, freshly asked for where the CI allows it.
    pub async fn token(&self, audience: Option<&str>) -> Result<Secret> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(Secret::new(text.trim().to_owned()));
        }
        if let Some(name) = &self.token_env {
            let text = std::env::var(name).ok().filter(|text| !text.is_empty());
            return text
                .map(Secret::new)
                .with_context(|| format!("no-id-token: {name} is not set"));
        }
        match (
            std::env::var("ACTIONS_ID_TOKEN_REQUEST_URL"),
            std::env::var("ACTIONS_ID_TOKEN_REQUEST_TOKEN"),
        ) {
            (Ok(url), Ok(bearer)) => github(&url, &bearer, audience).await,
            _ => match std::env::var("HOOP_ID_TOKEN") {
                Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
                _ => bail!(
                    "no-id-token: no OIDC token in this job. GitHub Actions: add `permissions: id-token: write`. \
                     GitLab: add `id_tokens: HOOP_ID_TOKEN: {{ aud: … }}`. Elsewhere: --token-env or --token-file"
                ),
            },
        }
    }
}

async fn github(url: &str, bearer: &str, audience: Option<&str>) -> Result<Secret> {
    let mut url = url::Url::parse(url).context("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")?;
    if let Some(audience) = audience {
        url.query_pairs_mut().append_pair("audience", audience);
    }
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let answer = client
        .get(url)
        .bearer_auth(bearer)
        .send()
        .await
        .context("no-id-token: GitHub did not answer")?;
    let status = answer.status();
    if !status.is_success() {
        bail!("no-id-token: GitHub answered {status} to the request for a token");
    }
    let body: serde_json::Value = answer
        .json()
        .await
        .context("no-id-token: GitHub's answer is not JSON")?;
    let value = body.get("value").and_then(serde_json::Value::as_str);
    value
        .map(|text| Secret::new(text.to_owned()))
        .context("no-id-token: GitHub's answer holds no token")
}
