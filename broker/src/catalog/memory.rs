//! What policies saw first in each database, kept in the store: a snapshot is held against it before anybody judges by
//! it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use crate::decide::sights::sights;
use crate::policy::Scope;
use crate::sql::Snapshot;
use crate::sql::bound::Bound;
use crate::store::{Store, StoreFault};
use crate::upstream::control::Controls;
use crate::upstream::{Target, UpstreamFault};

/// Tells one database from another that has its name: the server's identity and the database's number there.
const PLACE: &str = "SELECT pg_catalog.concat(s.system_identifier, '/', d.oid) FROM pg_catalog.pg_control_system() s \
    JOIN pg_catalog.pg_database d ON d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";
/// The same where the operator's login may not ask for the server's identity.
const PLACE_ALONE: &str = "SELECT pg_catalog.concat('-/', d.oid) FROM pg_catalog.pg_database d \
    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/// The scopes of today's policies on the database of this name.
pub type Scopes = Arc<dyn Fn(&str) -> Vec<Arc<Scope>> + Send + Sync>;

/// The memory of every database.
pub struct Memory {
    store: Arc<dyn Store>,
    scopes: Scopes,
    /// By database and role: the schema and the scopes that were looked at last, and what is known since.
    looked: Mutex<HashMap<Seen, Looked>>,
}

/// A database, as whom it is looked at.
type Seen = (String, Option<Arc<str>>);

struct Looked {
    schema: u64,
    scopes: u64,
    bound: Arc<Bound>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// The memory that `store` keeps.
    pub fn new(store: Arc<dyn Store>, scopes: Scopes) -> Self {
        Self {
            store,
            scopes,
            looked: Mutex::default(),
        }
    }

    /// Holds `snapshot` against what was seen before, and remembers what is seen for the first time.
    pub async fn bind(
        &self,
        controls: &Controls,
        target: &Arc<Target>,
        snapshot: &mut Snapshot,
    ) -> Result<(), UpstreamFault> {
        let scopes = (self.scopes)(&target.name);
        let key = (target.name.clone(), target.role().cloned());
        let schema = snapshot.version ^ snapshot.bound.version();
        let spoken = spoken(&scopes);
        let known = {
            let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let same = looked
                .get(&key)
                .filter(|known| known.schema == schema && known.scopes == spoken);
            same.map(|known| known.bound.clone())
        };
        let bound = if let Some(bound) = known {
            bound
        } else {
            let bound = self.look(controls, target, &scopes, snapshot).await?;
            let looked = Looked {
                schema,
                scopes: spoken,
                bound: bound.clone(),
            };
            let mut all = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(key, looked);
            bound
        };
        snapshot.bind(bound);
        Ok(())
    }

    async fn look(
        &self,
        controls: &Controls,
        target: &Arc<Target>,
        scopes: &[Arc<Scope>],
        snapshot: &mut Snapshot,
    ) -> Result<Arc<Bound>, UpstreamFault> {
        let unkept = |fault: StoreFault| UpstreamFault::Query {
            database: target.name.clone(),
            cause: fault.to_string(),
        };
        let place = format!("{}/{}", target.name, place(controls, target).await?);
        let seen = self.store.see(place.clone(), Vec::new()).await.map_err(unkept)?;
        snapshot.bind(Arc::new(Bound::new(seen)));
        let new = sights(scopes, snapshot);
        if new.is_empty() {
            return Ok(snapshot.bound.clone());
        }
        tracing::info!(database = %target.name, columns = new.len(), "remembered what policies speak of");
        let seen = self.store.see(place, new).await.map_err(unkept)?;
        Ok(Arc::new(Bound::new(seen)))
    }
}

async fn place(controls: &Controls, target: &Arc<Target>) -> Result<String, UpstreamFault> {
    let client = controls.get(target).await?;
    let row = match client.query_one(PLACE, &[]).await {
        Ok(row) => Ok(row),
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) => {
            client.query_one(PLACE_ALONE, &[]).await
        }
        Err(error) => Err(error),
    };
    row.map(|row| row.get(0)).map_err(|error| UpstreamFault::Query {
        database: target.name.clone(),
        cause: error.to_string(),
    })
}

fn spoken(scopes: &[Arc<Scope>]) -> u64 {
    let mut digests: Vec<&str> = scopes.iter().map(|scope| scope.digest.as_ref()).collect();
    digests.sort_unstable();
    let mut hasher = DefaultHasher::new();
    digests.hash(&mut hasher);
    hasher.finish()
}
