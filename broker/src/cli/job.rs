//! What a job runs: `run`, `open`, `close`, `whoami`, and the operator's `kill`.

use std::cell::Cell;
use std::fs;
use std::future::poll_fn;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::signal::unix::{self, SignalKind, signal};

use super::api::{self, Api, Ask, BrokerArgs, Minted, Problem};
use super::out::Out;
use super::proof::Proof;
use super::retry::retrying;
use super::token::TokenArgs;

/// The file with what to trust, beside the job.
const AUTHORITY: &str = "ca.pem";

/// What to ask for.
#[derive(Debug, clap::Args)]
pub struct AskArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    token: TokenArgs,
    /// The audience of the token; by default what the broker says.
    #[arg(long)]
    audience: Option<String>,
    /// The scope, as the repository's policy names it.
    #[arg(long)]
    scope: String,
    /// A shorter lifetime than the scope's, such as 5m.
    #[arg(long)]
    ttl: Option<String>,
    /// Why, for the record.
    #[arg(long)]
    reason: Option<String>,
    /// How long to try while the broker is unreachable or busy; 0 tries once.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

/// `hoop-db run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// The command and its arguments; it alone sees the endpoint, in PGHOST …, DATABASE_URL.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// `hoop-db open`.
#[derive(Debug, clap::Args)]
pub struct OpenArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Where to keep what `close` needs; the file is readable by its owner only.
    #[arg(long, default_value = ".hoop-db.json", value_name = "PATH")]
    state: PathBuf,
}

/// `hoop-db close`.
#[derive(Debug, clap::Args)]
pub struct CloseArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// The file `open` wrote.
    #[arg(long, default_value = ".hoop-db.json", value_name = "PATH")]
    state: PathBuf,
}

/// `hoop-db whoami`.
#[derive(Debug, clap::Args)]
pub struct WhoamiArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    token: TokenArgs,
    /// The audience of the token; by default what the broker says.
    #[arg(long)]
    audience: Option<String>,
    /// Print the claims as JSON, for `hoop-db policy explain --claims`.
    #[arg(long)]
    json: bool,
}

/// `hoop-db kill`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true)))]
pub struct KillArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// The operator's token.
    #[arg(long, env = "HOOP_OPERATOR_TOKEN", hide_env_values = true)]
    operator_token: String,
    /// One grant.
    #[arg(long, group = "target")]
    grant: Option<String>,
    /// Every grant of a scope.
    #[arg(long, group = "target")]
    scope: Option<String>,
    /// Every grant of a repository, `issuer:id`.
    #[arg(long, group = "target")]
    repository: Option<String>,
    /// Every grant on a database.
    #[arg(long, group = "target")]
    database: Option<String>,
}

/// What `close` needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    grant: String,
    revoke_token: String,
    directory: PathBuf,
}

impl AskArgs {
    /// Asks for the grant. When the answer is lost, or a signal comes before it, what was asked for is ended.
    async fn open(&self, signals: &mut Signals, out: &mut Out) -> Result<(Api, Minted)> {
        let api = Api::new(&self.broker)?;
        let (key, sent) = (api::request_key()?, Cell::new(0));
        let asked = retrying(Duration::from_secs(self.wait), out, async |tries| {
            let audience = audience(&api, self.audience.as_deref()).await?;
            // A fresh token for every try, where there is one: a try whose answer was lost may have used the last.
            let token = self.token.token(audience.as_deref()).await?;
            let proof = if self.token.fresh_each_time() {
                None
            } else {
                Some(Proof::of(&token, &std::env::temp_dir())?.member(tries))
            };
            let ask = Ask {
                scope: &self.scope,
                ttl: self.ttl.as_deref(),
                reason: self.reason.as_deref(),
                proof: proof.as_ref(),
            };
            sent.set(tries + 1);
            api.open(&token, &key, &ask).await
        });
        let answer = tokio::select! {
            answer = asked => answer,
            signal = signals.next() => Err(anyhow::anyhow!("ended by {signal} before the endpoint was there")),
        };
        match answer {
            Ok(minted) => Ok((api, minted)),
            Err(error) => {
                // A refusal of the only try made no grant. After anything else there may be one that nobody would revoke.
                let refused = error
                    .downcast_ref::<Problem>()
                    .is_some_and(|problem| problem.status < 500);
                if sent.get() > 0 && !(refused && sent.get() == 1) {
                    let _none_or_expires = api.abandon(&key).await;
                }
                Err(error)
            }
        }
    }
}

/// The signals that end a job. They are caught before there is a grant that would have to be revoked.
struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    fn catch() -> Result<Self> {
        let all = [
            (Signal::SIGINT, SignalKind::interrupt()),
            (Signal::SIGTERM, SignalKind::terminate()),
            (Signal::SIGHUP, SignalKind::hangup()),
            (Signal::SIGQUIT, SignalKind::quit()),
        ];
        let caught = all.into_iter().map(|(which, kind)| Ok((which, signal(kind)?)));
        Ok(Self(caught.collect::<Result<_>>()?))
    }

    async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let mut streams = self.0.iter_mut();
            let came = streams.find_map(|(which, stream)| stream.poll_recv(context).is_ready().then_some(*which));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Only GitHub's tokens are asked for with an audience; GitLab's job definition names it.
async fn audience(api: &Api, given: Option<&str>) -> Result<Option<String>> {
    match given {
        Some(audience) => Ok(Some(audience.to_owned())),
        None if std::env::var_os("ACTIONS_ID_TOKEN_REQUEST_URL").is_some() => api.audience("github-actions").await,
        None => Ok(None),
    }
}

/// Opens, runs the child with the endpoint in its environment, passes signals and its exit status through, revokes.
pub async fn run(args: RunArgs, out: &mut Out) -> Result<ExitCode> {
    let mut signals = Signals::catch()?;
    let directory = tempfile::Builder::new().prefix("hoop-db-").tempdir()?;
    let (api, minted) = args.ask.open(&mut signals, out).await?;
    if let Some(caveat) = minted.enforcement.as_ref().and_then(|part| part.caveat.as_ref()) {
        out.note(caveat);
    }
    let status = match environment(&minted, directory.path()) {
        Ok(environment) => supervise(&args, &environment, &mut signals).await,
        Err(error) => Err(error),
    };
    let revoked = api.revoke(&minted.grant.id, &minted.revoke_token).await;
    match &revoked {
        Ok(answer) => summarise(answer, out),
        Err(error) => out.note(&format!(
            "the endpoint could not be revoked, it ends by itself at {}: {error:#}",
            minted.grant.expires_at
        )),
    }
    let status = status?;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

async fn supervise(
    args: &RunArgs,
    environment: &[(String, String)],
    signals: &mut Signals,
) -> Result<std::process::ExitStatus> {
    let (program, arguments) = args.command.split_first().context("no command")?;
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    // The child has the endpoint; it has no business with the token that could ask for another one.
    for name in ["ACTIONS_ID_TOKEN_REQUEST_TOKEN", "HOOP_ID_TOKEN"]
        .into_iter()
        .chain(args.ask.token.token_env.as_deref())
    {
        command.env_remove(name);
    }
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    loop {
        let passed = tokio::select! {
            status = child.wait() => return Ok(status?),
            passed = signals.next() => passed,
        };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), passed);
        }
    }
}

/// The libpq variables and `DATABASE_URL`; the authority goes into a file beside.
fn environment(minted: &Minted, directory: &Path) -> Result<Vec<(String, String)>> {
    let endpoint = &minted.endpoint;
    let mut pairs = vec![
        ("PGHOST", endpoint.host.clone()),
        ("PGPORT", endpoint.port.to_string()),
        ("PGUSER", endpoint.username.clone()),
        ("PGPASSWORD", endpoint.password.clone()),
        ("PGDATABASE", endpoint.database.clone()),
        ("PGSSLMODE", endpoint.sslmode.clone()),
    ];
    let mut url = endpoint.url.clone();
    if let Some(ca) = &endpoint.ca {
        let path = directory.join(AUTHORITY);
        private_file(&path, ca.as_bytes())?;
        let path = path.display().to_string();
        let mut parsed = url::Url::parse(&url).context("the broker's connect string is not a URL")?;
        parsed.query_pairs_mut().append_pair("sslrootcert", &path);
        url = parsed.to_string();
        pairs.push(("PGSSLROOTCERT", path));
    }
    pairs.push(("DATABASE_URL", url));
    pairs.push(("HOOP_GRANT", minted.grant.id.clone()));
    Ok(pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// Opens, keeps what `close` needs, prints `export` lines for a shell to eval.
pub async fn open(args: OpenArgs, out: &mut Out) -> Result<ExitCode> {
    if args.state.exists() {
        bail!(
            "{} exists: an endpoint is open; `hoop-db close` it first",
            args.state.display()
        );
    }
    let directory: TempDir = tempfile::Builder::new().prefix("hoop-db-").tempdir()?;
    let (api, minted) = args.ask.open(&mut Signals::catch()?, out).await?;
    let kept = Kept {
        grant: minted.grant.id.clone(),
        revoke_token: minted.revoke_token.clone(),
        directory: directory.path().to_owned(),
    };
    let keep = environment(&minted, directory.path())
        .and_then(|pairs| private_file(&args.state, &serde_json::to_vec(&kept)?).map(|()| pairs));
    let pairs = match keep {
        Ok(pairs) => pairs,
        Err(error) => {
            // Nobody could close it: do it now.
            api.revoke(&minted.grant.id, &minted.revoke_token).await?;
            return Err(error);
        }
    };
    let _stays_for_close = directory.keep();
    for (name, value) in pairs {
        out.line(&format!("export {name}='{}'", value.replace('\'', r"'\''")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Revokes what `open` got.
pub async fn close(args: CloseArgs, out: &mut Out) -> Result<ExitCode> {
    let text = match fs::read(&args.state) {
        Ok(text) => text,
        // `after_script` runs in any case: a job whose `open` was refused, or that closed itself, is in order.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            out.note(&format!(
                "{} is not there: no endpoint is open here",
                args.state.display()
            ));
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", args.state.display())),
    };
    let kept: Kept = serde_json::from_slice(&text).context("the state file is not one of `hoop-db open`")?;
    match Api::new(&args.broker)?.revoke(&kept.grant, &kept.revoke_token).await {
        Ok(answer) => summarise(&answer, out),
        Err(error) => {
            let gone = error
                .downcast_ref::<Problem>()
                .is_some_and(|problem| matches!(problem.status, 404 | 410));
            if !gone {
                return Err(error);
            }
            out.note("the grant had ended already");
        }
    }
    fs::remove_file(&args.state)?;
    // Only what `open` made: a state file could come from anywhere, and must not become `rm -r`.
    let _gone_already = (
        fs::remove_file(kept.directory.join(AUTHORITY)),
        fs::remove_dir(&kept.directory),
    );
    Ok(ExitCode::SUCCESS)
}

/// The claims of this job's token. They are read, not verified: the broker does that.
pub async fn whoami(args: WhoamiArgs, out: &mut Out) -> Result<ExitCode> {
    let api = Api::new(&args.broker)?;
    let audience = audience(&api, args.audience.as_deref()).await?;
    let token = args.token.token(audience.as_deref()).await?;
    let payload = token.expose().split('.').nth(1).unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .context("not a JWT")?;
    let claims: serde_json::Map<String, Value> = serde_json::from_slice(&bytes).context("not a JWT")?;
    if args.json {
        out.line(&serde_json::to_string_pretty(&claims)?)?;
    }
    let width = claims.keys().map(String::len).max().unwrap_or_default();
    for (name, value) in claims.iter().filter(|_| !args.json) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out.line(&format!("{name:width$}  {}", value.escape_debug()))?;
    }
    // A scope nobody has: the broker's refusal tells how far the token gets without spending it.
    match api
        .open(
            &token,
            &api::request_key()?,
            &Ask {
                scope: "whoami?",
                ttl: None,
                reason: None,
                proof: None,
            },
        )
        .await
    {
        Ok(_) => bail!("the policy has a scope named `whoami?`"),
        Err(error) => match error.downcast_ref::<Problem>() {
            Some(problem) if problem.field("/code") == Some("scope-unknown") => {
                out.note("the broker accepts this token");
                if let Some(expected) = problem.document.pointer("/expected").filter(|value| !value.is_null()) {
                    let scopes = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
                    let scopes = scopes.strip_prefix("scope: ").unwrap_or(&scopes);
                    out.note(&format!("scopes of its repository: {scopes}"));
                }
                Ok(ExitCode::SUCCESS)
            }
            Some(_) => Err(error.context("the broker refuses this token")),
            None => Err(error),
        },
    }
}

/// The operator's kill switch.
pub async fn kill(args: KillArgs, out: &mut Out) -> Result<ExitCode> {
    let target = match (args.grant, args.scope, args.repository, args.database) {
        (Some(grant), ..) => json!({ "grant": grant }),
        (_, Some(scope), ..) => json!({ "scope": scope }),
        (_, _, Some(repository), _) => json!({ "repository": repository }),
        (.., Some(database)) => json!({ "database": database }),
        _ => bail!("name what to end"),
    };
    let answer = Api::new(&args.broker)?.kill(&args.operator_token, &target).await?;
    out.line(&answer.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn summarise(answer: &Value, out: &mut Out) {
    let number = |pointer: &str| answer.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let statements = answer.pointer("/totals/statements").and_then(Value::as_object);
    let sent: u64 = statements
        .into_iter()
        .flatten()
        .filter_map(|(_, count)| count.as_u64())
        .sum();
    out.note(&format!(
        "endpoint revoked: {} connections, {sent} statements, {} rows, {} denied",
        number("/totals/sessions"),
        number("/totals/rows"),
        number("/totals/denied"),
    ));
    let masked = answer.pointer("/totals/masked").and_then(Value::as_object);
    for (column, count) in masked.into_iter().flatten() {
        out.note(&format!("{count} values of {column} were masked"));
    }
    let detected = answer.pointer("/totals/detected").and_then(Value::as_object);
    for (kind, count) in detected.into_iter().flatten() {
        out.note(&format!("{count} times {kind} was found in texts and replaced"));
    }
    for denial in answer
        .pointer("/totals/denials")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(message) = denial.get("message").and_then(Value::as_str) {
            out.note(message);
        }
    }
}

fn private_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(bytes)?)
}
