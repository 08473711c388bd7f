//! Schema snapshots of the live databases: loaded over a control connection, shared by every session of a database,
//! polled for changes made by others. A session that changes the schema itself reads its own (`catalog::query`).

pub mod load;
pub mod memory;
mod moves;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::sql::Snapshot;
use crate::sql::quote::identifier;
use crate::upstream::control::Controls;
use crate::upstream::{Target, UpstreamFault};

pub use load::{Part, plain, query, read_system, read_user};
pub use memory::Memory;
pub use moves::{Seat, Views};

/// What has to be done before anybody sees a newer schema of a database.
pub type Settle = Arc<dyn Fn(Arc<Target>) -> BoxFuture<'static, ()> + Send + Sync>;

/// How soon after a session's own change the other views of its database are read again, unless somebody waits for it: a
/// migration makes many.
const SOON: Duration = Duration::from_millis(250);

/// The snapshots of every database.
#[derive(Clone)]
pub struct Catalogs {
    controls: Controls,
    settle: Option<Settle>,
    /// Nothing where snapshots are only looked at.
    memory: Option<Arc<Memory>>,
    databases: Arc<Mutex<HashMap<Seen, Arc<Catalog>>>>,
    /// A session changed a schema: what others see of it is read again soon.
    news: Arc<moves::News>,
    /// By database.
    moves: Arc<Mutex<HashMap<String, Arc<moves::Moves>>>>,
}

/// A database, as whom it is looked at: names resolve along a path that depends on the role's rights.
type Seen = (String, Option<Arc<str>>);

impl std::fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogs").finish_non_exhaustive()
    }
}

/// One database's snapshot.
#[derive(Debug)]
pub struct Catalog {
    target: Arc<Target>,
    current: watch::Sender<Option<Arc<Snapshot>>>,
    /// When the reading of the newest snapshot began: one that began earlier may lack what a commit in between made.
    newest: Mutex<Option<Instant>>,
    /// Held while loading, so that a burst of first sessions loads once.
    loading: tokio::sync::Mutex<()>,
}

impl Catalogs {
    /// No snapshot yet.
    pub fn new(controls: Controls) -> Self {
        Self {
            controls,
            settle: None,
            memory: None,
            databases: Arc::default(),
            news: Arc::default(),
            moves: Arc::default(),
        }
    }

    /// Does `settle` before anybody sees a newer schema.
    #[must_use]
    pub fn settling(self, settle: Settle) -> Self {
        Self {
            settle: Some(settle),
            ..self
        }
    }

    /// Holds every snapshot against what policies saw first.
    #[must_use]
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self {
            memory: Some(memory),
            ..self
        }
    }

    /// The current snapshot of `target` and a receiver that sees every later one.
    pub async fn subscribe(
        &self,
        target: &Arc<Target>,
    ) -> Result<(Arc<Snapshot>, watch::Receiver<Option<Arc<Snapshot>>>), UpstreamFault> {
        let catalog = self.catalog(target);
        let mut receiver = catalog.current.subscribe();
        let known = receiver.borrow_and_update().clone();
        if let Some(snapshot) = known {
            return Ok((snapshot, receiver));
        }
        let _turn = catalog.loading.lock().await;
        let known = receiver.borrow_and_update().clone();
        if let Some(snapshot) = known {
            return Ok((snapshot, receiver));
        }
        let began = Instant::now();
        let snapshot = self.load(target, None).await?;
        catalog.current.send_replace(Some(snapshot.clone()));
        self.moves(&target.name).read(target.role().cloned(), began);
        receiver.borrow_and_update();
        Ok((snapshot, receiver))
    }

    /// Makes a snapshot that a session read after a committed change the shared one.
    /// `began` is when its reading began.
    pub fn publish(&self, target: &Arc<Target>, snapshot: Arc<Snapshot>, began: Instant) {
        let catalog = self.catalog(target);
        let mut newest = catalog.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_some_and(|newest| newest > began) {
            return;
        }
        *newest = Some(began);
        catalog.current.send_if_modified(|current| {
            let changed = current.as_ref().is_none_or(|old| old.version != snapshot.version);
            if changed {
                *current = Some(snapshot);
                self.news.soon.notify_one();
            }
            changed
        });
        self.moves(&target.name).read(target.role().cloned(), began);
    }

    fn moves(&self, database: &str) -> Arc<moves::Moves> {
        let mut all = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(moves) = all.get(database) {
            return moves.clone();
        }
        let moves = Arc::new(moves::Moves::new(self.news.clone()));
        all.insert(database.to_owned(), moves.clone());
        moves
    }

    /// Looks at every database that has a session for schema changes made by others, after each time of `every`, for ever.
    pub async fn poll(&self, every: Duration) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.news.soon.notified() => {
                    let _called = tokio::time::timeout(SOON, self.news.now.notified()).await;
                }
            }
            let all: Vec<Arc<Catalog>> = self
                .databases
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
                .cloned()
                .collect();
            for catalog in all {
                if catalog.current.receiver_count() == 0 {
                    // Nobody looks: the next session loads afresh.
                    catalog.current.send_replace(None);
                    continue;
                }
                let known = catalog.current.borrow().clone();
                let began = Instant::now();
                match self.load(&catalog.target, known).await {
                    Ok(snapshot) => self.publish(&catalog.target, snapshot, began),
                    Err(fault) => tracing::warn!(error = %fault, "schema snapshot not refreshed"),
                }
            }
        }
    }

    fn catalog(&self, target: &Arc<Target>) -> Arc<Catalog> {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        databases
            .entry((target.name.clone(), target.role().cloned()))
            .or_insert_with(|| {
                Arc::new(Catalog {
                    target: target.clone(),
                    current: watch::Sender::new(None),
                    newest: Mutex::default(),
                    loading: tokio::sync::Mutex::new(()),
                })
            })
            .clone()
    }

    /// Reads the user part, and the system part unless `known` already holds it.
    async fn load(&self, target: &Arc<Target>, known: Option<Arc<Snapshot>>) -> Result<Arc<Snapshot>, UpstreamFault> {
        let malformed = |cause: String| UpstreamFault::Query {
            database: target.name.clone(),
            cause,
        };
        let before = known.as_ref().map(|known| known.version);
        let base = match known {
            Some(known) => known,
            None => Arc::new(read_system(&self.document(target, Part::System).await?).map_err(malformed)?),
        };
        let mut read = read_user(&base, &self.document(target, Part::User).await?).map_err(malformed)?;
        if let Some(memory) = &self.memory {
            memory.bind(&self.controls, target, &mut read).await?;
        }
        if let Some(settle) = self.settle.as_ref().filter(|_| before != Some(read.version)) {
            settle(target.clone()).await;
        }
        Ok(Arc::new(read))
    }

    /// Both parts as the server gave them: what a snapshot can be read from later, without the server.
    pub async fn documents(&self, target: &Arc<Target>) -> Result<(String, String), UpstreamFault> {
        Ok((
            self.document(target, Part::System).await?,
            self.document(target, Part::User).await?,
        ))
    }

    async fn document(&self, target: &Arc<Target>, part: Part) -> Result<String, UpstreamFault> {
        let mut client = self.controls.get(target).await?;
        let reading = async {
            let transaction = client.build_transaction().read_only(true).start().await?;
            if let Some(role) = target.role() {
                // As the sessions see it: a schema that the role may not use is not on its path.
                transaction
                    .batch_execute(&format!("SET LOCAL ROLE {}", identifier(role)))
                    .await?;
            }
            let row = transaction.query_one(query(part), &[]).await?;
            transaction.commit().await?;
            Ok::<String, tokio_postgres::Error>(row.get(0))
        };
        reading.await.map_err(|error| UpstreamFault::Query {
            database: target.name.clone(),
            cause: error
                .code()
                .map_or_else(|| error.to_string(), |code| format!("SQLSTATE {}", code.code())),
        })
    }
}
