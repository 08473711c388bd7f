//! The broker's own, separate connections to a database: schema snapshots, ending backends, health.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

use super::{Target, Transport, UpstreamFault, dial};

/// Control connections per database: one for snapshots, the rest for ending many sessions at once.
const POOL_SIZE: usize = 4;

/// Pools of control connections, one per database.
#[derive(Clone, Default)]
pub struct Controls(Arc<Mutex<HashMap<String, (Pool, LastFault)>>>);

/// Why the last attempt to connect failed: the pool's own errors cannot say it.
type LastFault = Arc<Mutex<Option<UpstreamFault>>>;

impl std::fmt::Debug for Controls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Controls")
    }
}

impl Controls {
    /// A control connection to `target`.
    pub async fn get(&self, target: &Arc<Target>) -> Result<deadpool_postgres::Client, UpstreamFault> {
        let (pool, last) = self.pool(target)?;
        pool.get().await.map_err(|error| {
            let database = target.name.clone();
            let refused = match &error {
                PoolError::Backend(error) => error.code().map(|code| code.code().to_owned()),
                _ => None,
            };
            match refused {
                Some(sqlstate) => UpstreamFault::Refused { database, sqlstate },
                None => {
                    last.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone()
                        .unwrap_or(UpstreamFault::Unreachable {
                            database,
                            cause: error.to_string(),
                        })
                }
            }
        })
    }

    fn pool(&self, target: &Arc<Target>) -> Result<(Pool, LastFault), UpstreamFault> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&target.name) {
            return Ok(pool.clone());
        }
        let mut config = tokio_postgres::Config::new();
        config
            .user(&target.user)
            .password(target.password.expose())
            .dbname(&target.database)
            .application_name("hoop-db control")
            // The snapshot's query looks dear to the planner and runs once: compiling it takes far longer.
            .options("-c jit=off");
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let last = LastFault::default();
        let manager = Manager::from_connect(config, Dial(target.clone(), last.clone()), manager_config);
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(Duration::from_secs(5)))
            .create_timeout(Some(dial::DEADLINE))
            .recycle_timeout(Some(Duration::from_secs(2)))
            .build()
            .map_err(|error| UpstreamFault::Unreachable {
                database: target.name.clone(),
                cause: error.to_string(),
            })?;
        pools.insert(target.name.clone(), (pool.clone(), last.clone()));
        Ok((pool, last))
    }
}

/// Connects the pool's clients through [`dial`], so that there is one way upstream.
struct Dial(Arc<Target>, LastFault);

impl Connect for Dial {
    fn connect(
        &self,
        config: &tokio_postgres::Config,
    ) -> BoxFuture<'_, Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>> {
        let config = config.clone();
        async move {
            let dialled = dial::dial(&self.0).await;
            *self.1.lock().unwrap_or_else(PoisonError::into_inner) = dialled.as_ref().err().cloned();
            match dialled {
                Ok(Transport::Plain(io)) => Ok(drive(config.connect_raw(io, NoTls).await?)),
                Ok(Transport::Tls(io)) => Ok(drive(config.connect_raw(*io, NoTls).await?)),
                Err(fault) => {
                    tracing::warn!(database = %self.0.name, error = %fault, "control connection failed");
                    // The pool knows only its driver's errors: hand it a connection that is already closed.
                    let closed = tokio::io::join(tokio::io::empty(), tokio::io::sink());
                    Ok(drive(config.connect_raw(closed, NoTls).await?))
                }
            }
        }
        .boxed()
    }
}

type Driven<S> = (
    tokio_postgres::Client,
    tokio_postgres::Connection<S, tokio_postgres::tls::NoTlsStream>,
);

fn drive<S>((client, connection): Driven<S>) -> (tokio_postgres::Client, JoinHandle<()>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %error, "control connection ended");
        }
    });
    (client, task)
}
