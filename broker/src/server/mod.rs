//! The broker, put together: store, ledger, keys, policies, both doors, and the order in which they start and stop.

mod admission;
mod audit;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use serde::de::IgnoredAny;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::Desk;
use self::audit::Book;
use crate::base::clock::Clock;
use crate::base::fault::Fault;
use crate::base::secret::random_bytes;
use crate::catalog::Catalogs;
use crate::cli::ledger::FOLDER;
use crate::cli::out::Out;
use crate::config::{Config, Durability, UpstreamTls};
use crate::grant::{Grants, Registry};
use crate::http::{self, App, Check, Endpoints, IssuerInfo, Probe};
use crate::issuer::Verifier;
use crate::ledger::Record;
use crate::policy::diagnostic;
use crate::policy::operator::Operator;
use crate::policy::set::Policies;
use crate::proxy::{self, Front, Tls};
use crate::record::Recorder;
use crate::session::House;
use crate::session::cancel::CancelKeys;
use crate::store::sqlite::Sqlite;
use crate::telemetry::{Counted, Metrics};
use crate::token::config::IssuerConfig;
use crate::upstream::control::Controls;
use crate::upstream::{Cutter, Target, cut};
use crate::{sweep, telemetry};

/// The whole operator's file: policies are read by `policy`, the rest by `config`.
pub type Settings = Config<IssuerConfig, IgnoredAny, IgnoredAny>;

/// How often the policies directory is looked at.
const POLICY_POLL: Duration = Duration::from_secs(5);

/// `hoop-db serve`.
pub fn run(path: &Path, check: bool, out: &mut Out) -> Result<ExitCode> {
    telemetry::init(std::env::var(telemetry::log::VARIABLE).ok().as_deref())?;
    let clock = Clock::system();
    let plan = Plan::read(path, &clock)?;
    if check {
        out.line(&format!("{} is in order", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Two threads are plenty for the control plane; the data plane brings its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let broker = Broker::start(plan, clock).await?;
        out.line(&format!("hoop-db {}: API on {}, PostgreSQL on {}", env!("CARGO_PKG_VERSION"), broker.http, broker.postgres))?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        broker.stop().await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Everything read and checked, nothing started.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
    operator: Operator,
}

impl Plan {
    /// Reads the operator's file and what it refers to.
    pub fn read(path: &Path, clock: &Clock) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {name}; give the operator's file with --config"))?;
        // The policy floor reads the whole file too, and explains a mistake in place: it goes first.
        let operator = Operator::read(&text, &name)
            .map_err(|found| anyhow::anyhow!("{}", diagnostic::text(&found, &text).trim_end().to_owned()))?;
        let settings = Settings::parse(&text, &name, clock.now())?;
        Ok(Self { settings, operator })
    }

    fn policies(&self) -> Policies {
        load_policies(&self.operator, &self.settings.policies)
    }
}

fn load_policies(operator: &Operator, folder: &Path) -> Policies {
    Policies::load(operator, |file| std::fs::read_to_string(folder.join(file)))
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    /// Where the API listens.
    pub http: SocketAddr,
    /// Where PostgreSQL clients are listened for.
    pub postgres: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    data_plane: Vec<std::thread::JoinHandle<()>>,
    recorder: Arc<Recorder>,
}

impl Broker {
    /// Starts everything; nothing is served before all of it works.
    pub async fn start(plan: Plan, clock: Clock) -> Result<Self> {
        let settings = &plan.settings;
        let http = tokio::net::TcpListener::bind(settings.http)
            .await
            .with_context(|| format!("cannot listen for HTTP on {}: is another broker running?", settings.http))?;
        let runtimes = std::thread::available_parallelism().map_or(1, usize::from);
        let listeners = proxy::bind(settings.postgres, runtimes)
            .with_context(|| format!("cannot listen for PostgreSQL on {}: is the port taken?", settings.postgres))?;
        let postgres = listeners.first().context("no listener")?.local_addr()?;
        let (state, recorder_clock) = (settings.state.clone(), clock.clone());
        let (store, recorder) = tokio::task::spawn_blocking(move || -> Result<_> {
            let store = Sqlite::open(&state).map_err(|fault| with_cure(&fault, &state))?;
            let recorder = Recorder::open(&state.join(FOLDER), recorder_clock);
            Ok((store, recorder.map_err(|fault| with_cure(&fault, &state))?))
        })
        .await??;
        let recorder = Arc::new(recorder);
        let started =
            Record::BrokerStarted { version: env!("CARGO_PKG_VERSION").into(), boot: recorder.boot().into() };
        recorder.control().write_durably(&started).await?;

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let policies = Arc::new(ArcSwap::from_pointee(plan.policies()));
        report_policies(&policies.load());
        let issuers = issuers(settings)?;
        let infos = issuers.iter().map(info).collect();
        let metrics = Metrics::new();
        if let Some(tls) = &settings.tls {
            metrics.certificate_expires.set(u64::try_from(tls.expires_at.as_second()).unwrap_or_default());
        }
        let registry = Arc::new(Registry::new(crate::grant::registry::Caps::default()));
        let desk = Desk::new(Verifier::new(issuers, clock.clone())?, policies.clone());
        let book = Counted::new(Book::new(recorder.clone()), metrics.clone());
        let grants = Arc::new(Grants::new(
            Arc::new(store),
            Arc::new(desk),
            Arc::new(book),
            registry.clone(),
            clock.clone(),
        ));
        let continued = grants.restore(|row| scope_now(&policies.load(), row)).await.map_err(problem)?;
        tracing::info!(
            live = continued.live,
            expired = continued.expired,
            changed = continued.changed,
            "grants taken up"
        );
        let controls = Controls::default();
        let targets = targets(settings)?;
        let (cutter, cuts) = Cutter::new();
        let catalogs = Catalogs::new(controls.clone());
        let front = Arc::new(Front {
            house: Arc::new(House {
                clock: clock.clone(),
                catalogs: catalogs.clone(),
                cutter,
                cancels: Arc::new(CancelKeys::default()),
                strict: settings.durability == Durability::Strict,
            }),
            registry: registry.clone(),
            targets,
            tls: settings.tls.as_ref().map(data_plane_tls).transpose()?,
            mock_key: random_bytes()?,
        });
        let data_plane = data_plane(&front, &recorder, listeners, &stop)?;
        tasks.spawn(cut::run(cuts, controls.clone()));
        tasks.spawn(stopping(stop.clone(), async move { catalogs.poll().await }));
        tasks.spawn(sweep::run(grants.clone(), clock.clone(), stop.clone()));
        tasks.spawn(stopping(stop.clone(), follow_policies(plan.operator.clone(), settings.policies.clone(), policies)));
        let app = Arc::new(App {
            grants,
            endpoints: endpoints(settings),
            issuers: infos,
            operator: settings.operator_token.clone(),
            rate: settings.rate,
            probes: probes(&recorder, &front, &controls, settings, &clock),
            metrics: Arc::new(render_metrics(metrics, registry)),
            tasks: tasks.clone(),
        });
        let tls = settings.tls.as_ref().map(|tls| tls.server(&["http/1.1"])).transpose()?;
        let address = http.local_addr()?;
        tasks.spawn(http::serve(http, tls, http::router(&app), stop.clone()));
        Ok(Self { http: address, postgres, stop, tasks, data_plane, recorder })
    }

    /// Stops in order: no new work, sessions cut and rolled back, the record closed.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        let threads = self.data_plane;
        tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a data plane thread ended in a panic");
                }
            }
        })
        .await?;
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(15), self.tasks.wait()).await.is_err() {
            tracing::warn!("some work was still going on at shutdown");
        }
        let stopped = Record::BrokerStopped { boot: self.recorder.boot().into() };
        self.recorder.control().write_durably(&stopped).await?;
        match Arc::try_unwrap(self.recorder) {
            Ok(recorder) => tokio::task::spawn_blocking(move || recorder.close()).await??,
            // Work that outlived the wait above still holds it; the next start takes over what is not chained.
            Err(_) => tracing::warn!("the ledger is left to the next start to close"),
        }
        Ok(())
    }
}

async fn stopping(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

fn problem(problem: crate::grant::Problem) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", problem.code, problem.detail)
}

/// What is wrong with the state directory, and what to do about it.
fn with_cure(fault: &impl Fault, state: &Path) -> anyhow::Error {
    let fix = fault.fix().unwrap_or_default();
    anyhow::anyhow!("{}: {}: {fault}\n    {fix}", state.display(), fault.code())
}

fn issuers(settings: &Settings) -> Result<Vec<crate::token::Issuer>> {
    settings.issuers.iter().map(|(name, config)| Ok(config.clone().build(name)?)).collect()
}

fn info(issuer: &crate::token::Issuer) -> IssuerInfo {
    let kind = serde_json::to_value(issuer.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    IssuerInfo { name: issuer.name.clone(), kind: kind.unwrap_or_default(), audience: issuer.audience.clone() }
}

fn scope_now(policies: &Policies, row: &crate::store::GrantRow) -> Option<Arc<crate::policy::Scope>> {
    let repository = policies.repository(&row.claims.issuer, &row.claims.repository_id)?;
    let scope = repository.policy.as_ref().ok()?.scopes.get(&row.scope)?;
    scope.as_ref().ok().cloned()
}

/// The operator's databases as targets.
pub fn targets(settings: &Settings) -> Result<std::collections::HashMap<String, Arc<Target>>> {
    settings
        .databases
        .iter()
        .map(|(name, database)| {
            let tls = match &database.tls {
                UpstreamTls::Disable => None,
                UpstreamTls::VerifyFull { ca } => Some(crate::upstream::transport::verifying(ca.as_deref())?),
            };
            let target = Target {
                name: name.clone(),
                host: database.host.clone(),
                port: database.port,
                database: database.database.clone(),
                user: database.user.clone(),
                password: database.password.clone(),
                tls,
            };
            Ok((name.clone(), Arc::new(target)))
        })
        .collect()
}

fn data_plane_tls(tls: &crate::config::Tls) -> Result<Tls> {
    let leaf = tls.leaf().context("no certificate")?;
    Ok(Tls::new(tls.server(&["postgresql"])?, leaf))
}

fn data_plane(
    front: &Arc<Front>,
    recorder: &Arc<Recorder>,
    listeners: Vec<std::net::TcpListener>,
    stop: &CancellationToken,
) -> Result<Vec<std::thread::JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let journal = recorder.journal(&format!("data-{index}"))?;
        let (front, stop) = (front.clone(), stop.clone());
        let thread = std::thread::Builder::new().name(format!("data-{index}")).spawn(move || {
            if let Err(error) = proxy::run(front, journal, listener, stop) {
                tracing::error!(error = %error, "a data plane thread ended");
            }
        })?;
        threads.push(thread);
    }
    Ok(threads)
}

fn endpoints(settings: &Settings) -> Endpoints {
    Endpoints {
        host: settings.public.host.clone(),
        port: settings.public.port,
        tls: settings.tls.is_some(),
        ca: settings.tls.as_ref().and_then(|tls| tls.ca.clone()),
        databases: settings.databases.iter().map(|(name, database)| (name.clone(), database.database.clone())).collect(),
    }
}

fn probes(
    recorder: &Arc<Recorder>,
    front: &Arc<Front>,
    controls: &Controls,
    settings: &Settings,
    clock: &Clock,
) -> Vec<Probe> {
    let ledger = Arc::downgrade(recorder);
    let mut probes: Vec<Probe> = vec![Arc::new(move || {
        let health = ledger.upgrade().map(|recorder| recorder.healthy());
        let code = match health {
            Some(Ok(())) => None,
            Some(Err(fault)) => Some(fault.code().to_owned()),
            None => Some("stopping".to_owned()),
        };
        async move { Check { name: "ledger".into(), ok: code.is_none(), code } }.boxed()
    })];
    if let Some(tls) = &settings.tls {
        let (expires, clock) = (tls.expires_at, clock.clone());
        probes.push(Arc::new(move || {
            let ok = clock.now() < expires;
            let code = (!ok).then(|| "certificate-expired".to_owned());
            async move { Check { name: "tls".into(), ok, code } }.boxed()
        }));
    }
    for target in front.targets.values().cloned() {
        let controls = controls.clone();
        probes.push(Arc::new(move || {
            let (target, controls) = (target.clone(), controls.clone());
            async move {
                let answer = controls.get(&target).await;
                let code = answer.err().map(|fault| fault.code().to_owned());
                Check { name: format!("database {}", target.name), ok: code.is_none(), code }
            }
            .boxed()
        }));
    }
    probes
}

fn render_metrics(metrics: Metrics, registry: Arc<Registry>) -> impl Fn() -> String {
    move || {
        metrics.grants_live.set(i64::try_from(registry.live_count()).unwrap_or(i64::MAX));
        metrics.sessions_open.set(i64::from(registry.session_count()));
        metrics.render()
    }
}

/// Looks at the policies directory and puts a new set in force when a file changed.
async fn follow_policies(operator: Operator, folder: std::path::PathBuf, policies: Arc<ArcSwap<Policies>>) {
    let last = Mutex::new(fingerprints(&policies.load()));
    loop {
        tokio::time::sleep(POLICY_POLL).await;
        let (operator, folder) = (operator.clone(), folder.clone());
        let Ok(loaded) = tokio::task::spawn_blocking(move || load_policies(&operator, &folder)).await else { continue };
        let now = fingerprints(&loaded);
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != now {
            report_policies(&loaded);
            policies.store(Arc::new(loaded));
            *last = now;
        }
    }
}

/// What tells one set of policies from another: each repository's file digest.
fn fingerprints(policies: &Policies) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = policies
        .repositories()
        .map(|repository| {
            let entry = &repository.registration;
            let sha = repository.policy.as_ref().map_or_else(ToString::to_string, |compiled| compiled.sha.to_string());
            (format!("{}:{}", entry.issuer, entry.repository_id), sha)
        })
        .collect();
    all.sort();
    all
}

fn report_policies(policies: &Policies) {
    for repository in policies.repositories() {
        let name = &repository.registration.name;
        match &repository.policy {
            Ok(compiled) => {
                for found in &compiled.diagnostics {
                    tracing::warn!(repository = %name, "{}", found.line());
                }
            }
            Err(missing) => tracing::warn!(repository = %name, error = %missing, "no policy"),
        }
    }
}
