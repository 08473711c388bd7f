//! The broker, put together: store, ledger, keys, policies, both doors, and the order in which they start and stop.

mod admission;
mod audit;
mod policies;
mod probes;
mod roles;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use serde::de::IgnoredAny;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::Desk;
use self::audit::Book;
use crate::base::clock::Clock;
use crate::base::fault::Fault;
use crate::base::secret::random_bytes;
use crate::catalog::{Catalogs, Memory};
use crate::cli::ledger::FOLDER;
use crate::cli::out::Out;
use crate::config::{Config, Durability, UpstreamTls};
use crate::grant::registry::Caps;
use crate::grant::{Grants, Registry};
use crate::http::{self, App, Endpoints, IssuerInfo};
use crate::issuer::Verifier;
use crate::policy::diagnostic;
use crate::policy::operator::Operator;
use crate::policy::set::Policies;
use crate::proxy::{self, Attempts, Front, Tls};
use crate::reader::{self, Counts, Reader};
use crate::record::Recorder;
use crate::session::House;
use crate::session::cancel::CancelKeys;
use crate::store::Store;
use crate::store::sqlite::Sqlite;
use crate::telemetry::{Counted, Metrics};
use crate::token::config::IssuerConfig;
use crate::upstream::control::Controls;
use crate::upstream::{Cutter, Target, cut};
use crate::{sweep, telemetry};

/// The whole operator's file: policies are read by `policy`, the rest by `config`.
pub type Settings = Config<IssuerConfig, IgnoredAny, IgnoredAny>;

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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let broker = Broker::start(plan, clock).await?;
        out.line(&format!(
            "hoop-db {}: API on {}, PostgreSQL on {}",
            env!("CARGO_PKG_VERSION"),
            broker.http,
            broker.postgres
        ))?;
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
        // Jobs are shown its lines, and have no business with the folder it lies in.
        let shown = path
            .file_name()
            .map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned());
        let operator = Operator::read(&text, &shown)
            .map_err(|found| anyhow::anyhow!("{}", diagnostic::text(&found, &text).trim_end().to_owned()))?;
        let settings = Settings::parse(&text, &name, clock.now())?;
        Ok(Self { settings, operator })
    }

    fn policies(&self) -> Policies {
        policies::load(&self.operator, &self.settings.policies)
    }
}

/// The databases of which a policy masks columns, as the operator names them.
pub fn masked(path: &Path, clock: &Clock) -> Result<BTreeSet<String>> {
    let policies = Arc::new(ArcSwap::from_pointee(Plan::read(path, clock)?.policies()));
    let scopes = roles::current(policies)().into_iter().map(|(_, _, scope)| scope);
    let masked = scopes.filter(|scope| !scope.masks.is_empty());
    Ok(masked.map(|scope| scope.database.clone()).collect())
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
        let (http, listeners) = bind(settings).await?;
        let (address, postgres) = (
            http.local_addr()?,
            listeners.first().context("no listener")?.local_addr()?,
        );
        let (store, recorder) = open_state(settings, &clock).await?;
        let store: Arc<dyn Store> = Arc::new(store);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let policies = Arc::new(ArcSwap::from_pointee(plan.policies()));
        policies::report(&policies.load());

        let metrics = Metrics::new();
        let registry = Arc::new(Registry::new(Caps::default()));
        let controls = Controls::default();
        let targets = targets(settings)?;
        let memory = Arc::new(Memory::new(store.clone(), policies::on_database(policies.clone())));
        let roles = roles::roles(settings, &targets, &controls, &memory)?;
        let grants = take_up_grants(settings, store, &recorder, &policies, &metrics, &registry, &clock).await?;
        let grants = Arc::new(grants.with_roles(roles.clone()));
        let (cutter, cuts) = Cutter::new();
        let settling = roles.clone();
        let catalogs = Catalogs::new(controls.clone())
            .with_memory(memory)
            .settling(Arc::new(move |target| {
                let roles = settling.clone();
                Box::pin(async move { roles.settle(&target).await })
            }));
        let reader = Arc::new(Reader::new(Reader::own_program(), reader::Limits::default()));
        let front = Arc::new(Front {
            house: Arc::new(House {
                clock: clock.clone(),
                catalogs: catalogs.clone(),
                roles: roles.clone(),
                cutter,
                cancels: Arc::new(CancelKeys::default()),
                reader: reader.clone(),
                strict: settings.durability == Durability::Strict,
            }),
            registry: registry.clone(),
            targets,
            tls: settings.tls.as_ref().map(data_plane_tls).transpose()?,
            attempts: Attempts::default(),
            mock_key: random_bytes()?,
        });
        let app = Arc::new(App {
            grants: grants.clone(),
            endpoints: endpoints(settings),
            issuers: issuers(settings)?.iter().map(info).collect(),
            operator: settings.operator_token.clone(),
            rate: settings.rate,
            probes: probes::probes(&recorder, &front, &controls, settings, &clock),
            metrics: Arc::new(render_metrics(metrics, registry, reader)),
            tasks: tasks.clone(),
        });
        let data_plane = data_plane(&front, &recorder, listeners, &stop)?;
        let tls = settings.tls.as_ref().map(|tls| tls.server(&["http/1.1"])).transpose()?;
        tasks.spawn(roles.keep(roles::current(policies.clone()), stop.clone()));
        let follow = policies::follow(
            plan.operator.clone(),
            settings.policies.clone(),
            policies,
            grants.clone(),
        );
        tasks.spawn(cut::run(cuts, controls));
        let every = settings.schema_poll;
        tasks.spawn(stopping(stop.clone(), async move { catalogs.poll(every).await }));
        tasks.spawn(stopping(stop.clone(), follow));
        tasks.spawn(sweep::run(grants, clock, stop.clone()));
        tasks.spawn(http::serve(http, tls, http::router(&app), stop.clone()));
        Ok(Self {
            http: address,
            postgres,
            stop,
            tasks,
            data_plane,
            recorder,
        })
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
        if tokio::time::timeout(Duration::from_secs(15), self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some work was still going on at shutdown");
        }
        if let Ok(recorder) = Arc::try_unwrap(self.recorder) {
            tokio::task::spawn_blocking(move || recorder.close()).await??;
        } else {
            // Work that outlived the wait above still holds it; the next start takes over what is not chained.
            tracing::warn!("the ledger is left to the next start to close");
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

/// Both ports, before anything else is touched: a second broker ends here.
async fn bind(settings: &Settings) -> Result<(TcpListener, Vec<std::net::TcpListener>)> {
    let http = TcpListener::bind(settings.http).await.with_context(|| {
        format!(
            "cannot listen for HTTP on {}: is another broker running?",
            settings.http
        )
    })?;
    let runtimes = std::thread::available_parallelism().map_or(1, usize::from);
    let listeners = proxy::bind(settings.postgres, runtimes).with_context(|| {
        format!(
            "cannot listen for PostgreSQL on {}: is the port taken?",
            settings.postgres
        )
    })?;
    Ok((http, listeners))
}

/// The store and the ledger; the ledger records the start itself.
async fn open_state(settings: &Settings, clock: &Clock) -> Result<(Sqlite, Arc<Recorder>)> {
    let (state, clock) = (settings.state.clone(), clock.clone());
    let (store, recorder) = tokio::task::spawn_blocking(move || -> Result<_> {
        let store = Sqlite::open(&state).map_err(|fault| with_cure(&fault, &state))?;
        let recorder = Recorder::open(&state.join(FOLDER), clock);
        Ok((store, recorder.map_err(|fault| with_cure(&fault, &state))?))
    })
    .await??;
    Ok((store, Arc::new(recorder)))
}

/// The grants, those of the last process included as far as their policy still stands.
async fn take_up_grants(
    settings: &Settings,
    store: Arc<dyn Store>,
    recorder: &Arc<Recorder>,
    policies: &Arc<ArcSwap<Policies>>,
    metrics: &Metrics,
    registry: &Arc<Registry>,
    clock: &Clock,
) -> Result<Grants> {
    if let Some(tls) = &settings.tls {
        let ends = u64::try_from(tls.expires_at.as_second()).unwrap_or_default();
        metrics.certificate_expires.set(ends);
    }
    let desk = Desk::new(Verifier::new(issuers(settings)?, clock.clone())?, policies.clone());
    let book = Counted::new(Book::new(recorder.clone()), metrics.clone());
    let grants = Grants::new(store, Arc::new(desk), Arc::new(book), registry.clone(), clock.clone());
    let continued = grants
        .restore(|row| scope_now(&policies.load(), row))
        .await
        .map_err(|problem| anyhow::anyhow!("{}: {}", problem.code, problem.detail))?;
    tracing::info!(
        live = continued.live,
        expired = continued.expired,
        changed = continued.changed,
        "grants taken up"
    );
    Ok(grants)
}

/// What is wrong with the state directory, and what to do about it.
fn with_cure(fault: &impl Fault, state: &Path) -> anyhow::Error {
    let fix = fault.fix().unwrap_or_default();
    anyhow::anyhow!("{}: {}: {fault}\n    {fix}", state.display(), fault.code())
}

fn issuers(settings: &Settings) -> Result<Vec<crate::token::Issuer>> {
    settings
        .issuers
        .iter()
        .map(|(name, config)| Ok(config.clone().build(name)?))
        .collect()
}

fn info(issuer: &crate::token::Issuer) -> IssuerInfo {
    let kind = serde_json::to_value(issuer.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned));
    IssuerInfo {
        name: issuer.name.clone(),
        kind: kind.unwrap_or_default(),
        audience: issuer.audience.clone(),
    }
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
                job: None,
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
        let thread = std::thread::Builder::new()
            .name(format!("data-{index}"))
            .spawn(move || {
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
        databases: settings
            .databases
            .iter()
            .map(|(name, database)| (name.clone(), database.database.clone()))
            .collect(),
    }
}

fn render_metrics(metrics: Metrics, registry: Arc<Registry>, reader: Arc<Reader>) -> impl Fn() -> String {
    move || {
        metrics
            .grants_live
            .set(i64::try_from(registry.live_count()).unwrap_or(i64::MAX));
        metrics.sessions_open.set(i64::from(registry.session_count()));
        metrics.decided(registry.decided());
        let Counts { crashed, slow, busy } = reader.counts();
        metrics.unread([("reader-failed", crashed), ("reader-slow", slow), ("reader-busy", busy)]);
        metrics.render()
    }
}
