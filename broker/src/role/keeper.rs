//! One database's housekeeping: the pool filled off everybody's way, ended logins dropped, left-overs swept, the roles of
//! scopes in use held in step with the schema.
//!
//! The invariant after every sweep: no login whose grant is over, none whose time has passed, none that owns anything.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::fault::RoleFault;
use super::{Current, Database, FRESH, State, group, lack, login, views};

/// Logins that wait for a grant.
const POOL: usize = 4;
/// A spare that is older is replaced.
const STALE: Duration = Duration::from_secs(30 * 60);
/// How long the keeper sleeps when nothing happens.
const BEAT: Duration = Duration::from_secs(1);
/// How often the catalog is searched for left-overs.
const SWEEP: Duration = Duration::from_secs(15);
/// How long a role of no scope of ours must have been seen unused before it goes: another broker may want it.
const UNUSED: Duration = Duration::from_secs(60 * 60);
/// How long the end of the broker may take here.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs until `stop`, then drops what is this process's own.
pub(super) async fn keep(
    database: Arc<Database>,
    current: Arc<dyn Fn() -> Vec<Current> + Send + Sync>,
    stop: CancellationToken,
) {
    let mut swept: Option<Instant> = None;
    let mut seen_unused = std::collections::HashMap::new();
    while !stop.is_cancelled() {
        let round = async {
            database.drop_doomed().await?;
            if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                database.sweep_logins().await?;
                database.tell_lacks().await;
                database.sweep_groups(&current(), &mut seen_unused).await?;
                database.sweep_views().await?;
                swept = Some(Instant::now());
            }
            database.fill().await?;
            database.compare_used().await
        };
        let failed = tokio::select! {
            () = stop.cancelled() => break,
            done = round => done.err(),
        };
        if let Some(fault) = &failed {
            tracing::warn!(database = %database.target.name, error = %fault, "the roles could not be kept; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(BEAT) => {}
            // A failure waits for its beat, whoever calls.
            () = database.work.notified(), if failed.is_none() => {}
        }
    }
    database.condemn_all();
    let last = tokio::time::timeout(FAREWELL, database.drop_doomed()).await;
    if !matches!(last, Ok(Ok(()))) {
        tracing::warn!(database = %database.target.name, "logins are left to the next start to drop");
    }
}

impl Database {
    /// Every login of this process must go.
    fn condemn_all(&self) {
        let mut state = self.state();
        let State {
            spares,
            taken,
            known,
            doomed,
            ..
        } = &mut *state;
        spares.clear();
        taken.clear();
        *doomed = known.iter().cloned().collect();
    }

    async fn drop_doomed(&self) -> Result<(), RoleFault> {
        loop {
            let Some(name) = self.state().doomed.last().cloned() else {
                return Ok(());
            };
            let gone = self.drop(&name).await?;
            let mut state = self.state();
            state.doomed.retain(|doomed| *doomed != name);
            // One that is still there is a left-over from now on: the sweep finds it again.
            state.known.remove(&name);
            drop(state);
            if !gone {
                tracing::error!(database = %self.target.name, role = %name,
                    "the sessions of an ended grant's login do not end; look at pg_stat_activity");
            }
        }
    }

    async fn drop(&self, name: &str) -> Result<bool, RoleFault> {
        let mut client = self.controls.get(&self.target).await?;
        login::drop(&mut client, name)
            .await
            .map_err(|error| RoleFault::of(&self.target.name, "dropping a login", &error))
    }

    /// Fills the pool and replaces what waited too long.
    async fn fill(&self) -> Result<(), RoleFault> {
        let missing = {
            let mut state = self.state();
            let (stale, fresh): (Vec<_>, Vec<_>) = std::mem::take(&mut state.spares)
                .into_iter()
                .partition(|spare| spare.born.elapsed() > STALE);
            state.spares = fresh;
            state.doomed.extend(stale.into_iter().map(|spare| spare.name));
            POOL.saturating_sub(state.spares.len())
        };
        for _ in 0..missing {
            let spare = self.make().await?;
            self.state().spares.push(spare);
        }
        Ok(())
    }

    /// Drops the logins that nobody answers for: this broker's own that are not in its memory, and any other's whose time
    /// is over.
    async fn sweep_logins(&self) -> Result<(), RoleFault> {
        let failed = |error| RoleFault::of(&self.target.name, "looking for left-over logins", &error);
        let client = self.controls.get(&self.target).await?;
        let rows = client
            .query(
                "SELECT r.rolname::pg_catalog.text, COALESCE(r.rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.clock_timestamp(), true) \
                 FROM pg_catalog.pg_roles r WHERE pg_catalog.starts_with(r.rolname::pg_catalog.text, $1)",
                &[&self.names.logins],
            )
            .await
            .map_err(failed)?;
        drop(client);
        let left: Vec<String> = {
            let state = self.state();
            rows.iter()
                .map(|row| (row.get::<_, String>(0), row.get::<_, bool>(1)))
                .filter(|(name, over)| {
                    let own = name.starts_with(&self.names.own);
                    (own && !state.known.contains(name)) || (!own && *over)
                })
                .map(|(name, _)| name)
                .collect()
        };
        for name in left {
            match self.drop(&name).await {
                Ok(true) => tracing::info!(database = %self.target.name, role = %name, "a left-over login was dropped"),
                Ok(false) => {
                    tracing::error!(database = %self.target.name, role = %name, "a left-over login has sessions that do not end");
                }
                Err(fault) => {
                    // Another broker may be at the same one, or have made it with a login we have no say over.
                    tracing::warn!(database = %self.target.name, role = %name, error = %fault, "a left-over login was not dropped");
                }
            }
        }
        Ok(())
    }

    /// Drops the roles of scopes that are gone.
    async fn sweep_groups(
        &self,
        current: &[Current],
        seen_unused: &mut std::collections::HashMap<String, Instant>,
    ) -> Result<(), RoleFault> {
        let failed = |error| RoleFault::of(&self.target.name, "looking for roles of former scopes", &error);
        let wanted: HashSet<String> = current
            .iter()
            .filter(|(_, _, scope)| scope.database == self.target.name)
            .map(|(issuer, repository, scope)| self.names.group(issuer, repository, scope))
            .collect();
        let mut client = self.controls.get(&self.target).await?;
        let rows = client
            .query(
                "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r \
                 WHERE pg_catalog.starts_with(r.rolname::pg_catalog.text, $1)",
                &[&self.names.groups],
            )
            .await
            .map_err(failed)?;
        let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        seen_unused.retain(|name, _| there.contains(name));
        for name in there.into_iter().filter(|name| !wanted.contains(name)) {
            let (in_use, ours) = {
                let state = self.state();
                let in_use = state.taken.values().any(|taken| taken.group == name);
                (in_use, state.groups.contains_key(&name))
            };
            let since = *seen_unused.entry(name.clone()).or_insert_with(Instant::now);
            if in_use || (!ours && since.elapsed() < UNUSED) {
                continue;
            }
            let _turn = self.syncing.lock().await;
            let transaction = client.transaction().await.map_err(failed)?;
            group::lock(&transaction, &self.names).await.map_err(failed)?;
            match group::drop_unused(&transaction, &name).await {
                Ok(true) => {
                    transaction.commit().await.map_err(failed)?;
                    self.state().groups.remove(&name);
                    tracing::info!(database = %self.target.name, role = %name, "the role of a former scope was dropped");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(database = %self.target.name, role = %name, error = %failed(error), "the role of a former scope was not dropped");
                }
            }
        }
        Ok(())
    }

    /// Drops the views of masked tables that no scope's role may read.
    async fn sweep_views(&self) -> Result<(), RoleFault> {
        let failed = |error| RoleFault::of(&self.target.name, "looking for views of former scopes", &error);
        let mut client = self.controls.get(&self.target).await?;
        let _turn = self.syncing.lock().await;
        let mut transaction = client.transaction().await.map_err(failed)?;
        group::lock(&transaction, &self.names).await.map_err(failed)?;
        let dropped = views::sweep(&mut transaction, &self.names).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        if !dropped.is_empty() {
            tracing::info!(database = %self.target.name, count = dropped.len(), "views of masked tables that nobody reads were dropped");
        }
        Ok(())
    }

    /// Compares the roles that live grants use.
    async fn compare_used(&self) -> Result<(), RoleFault> {
        let due: Vec<_> = {
            let state = self.state();
            state
                .groups
                .iter()
                .filter(|(name, group)| {
                    let used = state.taken.values().any(|taken| taken.group == **name);
                    used && group.compared.is_none_or(|at| at.elapsed() >= FRESH)
                })
                .map(|(name, group)| (name.clone(), group.scope.clone(), group.about.clone()))
                .collect()
        };
        for (name, scope, about) in due {
            let _turn = self.syncing.lock().await;
            self.compare(&name, &scope, &about).await?;
        }
        Ok(())
    }

    /// Tells the operator, once, what the broker's login lacks.
    async fn tell_lacks(&self) {
        let Ok(lacks) = self.lacks().await else { return };
        let told = lack::told(&lacks);
        let before = std::mem::replace(&mut self.state().lacks, told.clone());
        if !told.is_empty() && before != told {
            tracing::error!(database = %self.target.name, "{told}");
        }
    }
}
