//! The second enforcer: roles in the database itself. Per scope a role that holds exactly the compiled rights, per grant
//! a login that may do nothing but enter it.
//!
//! The catalog is the record. A login's password lives in this process alone, so whatever of this broker's is in the
//! catalog and not in its memory is a left-over, and goes; what another broker left behind goes when its time is over.

mod fault;
mod group;
mod keeper;
mod keys;
mod lack;
mod login;
mod names;
pub mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, OnceCell};

use crate::base::id::GrantId;
use crate::catalog::Memory;
use crate::claims::Claims;
use crate::decide::rights::Right;
use crate::mask::keyed::Pads;
use crate::policy::{Enforcement, Scope};
use crate::upstream::control::Controls;
use crate::upstream::{JobLogin, Target};

pub use fault::RoleFault;
pub use lack::Lack;
use login::{Dress, Spare};
use names::Names;

/// How long the rights of a scope's role count as compared with the schema.
const FRESH: Duration = Duration::from_secs(5);

/// A scope of today's policies: issuer, repository id, the scope.
pub type Current = (String, String, Arc<Scope>);

/// The roles of every database with `enforcement: role`. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Roles(Arc<HashMap<String, Arc<Database>>>);

/// The roles of one database.
#[derive(Debug)]
struct Database {
    target: Arc<Target>,
    controls: Controls,
    /// What policies saw first there: without it a view would show what came later.
    memory: Arc<Memory>,
    names: Names,
    /// The key of masks.
    key: Option<Pads>,
    state: Mutex<State>,
    /// One comparison at a time: a burst of grants compares once.
    syncing: tokio::sync::Mutex<()>,
    /// Something waits for the keeper.
    work: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Logins nobody has taken yet.
    spares: Vec<Spare>,
    /// The login of every grant.
    taken: HashMap<GrantId, Taken>,
    /// Every login of this process: in here before it is in the catalog, out only once it is gone.
    known: HashSet<String>,
    /// Logins that must go.
    doomed: Vec<String>,
    /// The roles of scopes, as far as this process has used them.
    groups: BTreeMap<String, Group>,
    /// Owners whose objects cannot be granted, as far as the operator was told: role and owner.
    told: HashSet<(String, String)>,
    /// What the broker's login lacks, as the operator was last told.
    lacks: String,
}

#[derive(Debug)]
struct Taken {
    login: Arc<OnceCell<Arc<Target>>>,
    group: String,
}

/// What the broker's login lacks to enforce policies in a database, and where `masks` are to be kept there, for that.
pub async fn lacks(controls: &Controls, target: &Arc<Target>, masks: bool) -> Result<Vec<Lack>, RoleFault> {
    let names = Names::new("", &target.name, &target.database);
    lacks_of(controls, target, &names, masks).await
}

async fn lacks_of(
    controls: &Controls,
    target: &Arc<Target>,
    names: &Names,
    masks: bool,
) -> Result<Vec<Lack>, RoleFault> {
    let client = controls.get(target).await?;
    let failed = |error| RoleFault::of(&target.name, "looking at the broker's login", &error);
    let own: [&str; 2] = [&names.groups, &names.keepers];
    let mut lacks = lack::of_login(&**client, &own).await.map_err(failed)?;
    if masks {
        lacks.extend(views::lack(&**client).await.map_err(failed)?);
    }
    Ok(lacks)
}

#[derive(Debug)]
struct Group {
    scope: Arc<Scope>,
    about: String,
    /// When its rights were last compared with the schema.
    compared: Option<Instant>,
    /// Rights on views that it did not need any more then.
    idle: BTreeSet<Right>,
}

/// For whom a login is taken.
#[derive(Debug, Clone, Copy)]
pub struct Bearer<'a> {
    /// The grant.
    pub grant: GrantId,
    /// Its scope.
    pub scope: &'a Arc<Scope>,
    /// Its job.
    pub claims: &'a Claims,
    /// When its last session ends.
    pub ends_at: Timestamp,
}

impl Roles {
    /// The roles of those of `targets` that `enforced` names, as the broker `instance`: a name that outlives the process,
    /// so that the next one knows what this one left.
    pub fn new<'t>(
        instance: &str,
        targets: impl IntoIterator<Item = (&'t Arc<Target>, Enforcement, Option<Pads>)>,
        controls: &Controls,
        memory: &Arc<Memory>,
    ) -> Self {
        let databases = targets
            .into_iter()
            .filter(|(_, enforcement, _)| *enforcement == Enforcement::Role)
            .map(|(target, _, key)| {
                let database = Database {
                    target: target.clone(),
                    controls: controls.clone(),
                    memory: memory.clone(),
                    names: Names::new(instance, &target.name, &target.database),
                    key,
                    state: Mutex::default(),
                    syncing: tokio::sync::Mutex::default(),
                    work: Notify::new(),
                };
                (target.name.clone(), Arc::new(database))
            })
            .collect();
        Self(Arc::new(databases))
    }

    /// The target that the sessions of a grant log in to: the same one for all of them, with a login of the grant's own.
    /// `None` where the database enforces nothing.
    pub async fn take(&self, bearer: Bearer<'_>) -> Result<Option<Arc<Target>>, RoleFault> {
        match self.0.get(&bearer.scope.database) {
            Some(database) => database.take(bearer).await.map(Some),
            None => Ok(None),
        }
    }

    /// Gives up the logins of grants that are over.
    pub fn retire(&self, over: impl Fn(GrantId) -> bool) {
        for database in self.0.values() {
            let mut state = database.state();
            let gone: Vec<GrantId> = state.taken.keys().copied().filter(|grant| over(*grant)).collect();
            for grant in &gone {
                if let Some(login) = state.taken.remove(grant).and_then(|taken| taken.login.get().cloned()) {
                    state.doomed.push(login.session_user().to_owned());
                }
            }
            if !gone.is_empty() {
                database.work.notify_one();
            }
        }
    }

    /// Somebody changed the schema of a database: its roles are compared again soon.
    pub fn moved(&self, database: &str) {
        if let Some(database) = self.0.get(database) {
            for group in database.state().groups.values_mut() {
                group.compared = None;
            }
            database.work.notify_one();
        }
    }

    /// Somebody is about to see a newer schema of a database as the role that its target works as: the views of masked
    /// tables are made for it first. Where that fails, statements find no view, and fail.
    pub async fn settle(&self, target: &Target) {
        let (Some(database), Some(role)) = (self.0.get(&target.name), target.role()) else {
            return;
        };
        let group = {
            let state = database.state();
            let group = state.groups.get(&**role);
            group.map(|group| (group.scope.clone(), group.about.clone()))
        };
        let Some((scope, about)) = group.filter(|(scope, _)| !scope.masks.is_empty()) else {
            return;
        };
        let _turn = database.syncing.lock().await;
        if let Err(fault) = database.compare(role, &scope, &about).await {
            tracing::warn!(database = %target.name, error = %fault, "the views of masked tables are behind the schema");
        }
    }

    /// The roles of scopes that mask columns of a database, with their scopes, as far as this process has used them.
    pub fn masking(&self, database: &str) -> Vec<(String, Arc<Scope>)> {
        let Some(database) = self.0.get(database) else {
            return Vec::new();
        };
        let state = database.state();
        let masking = state.groups.iter().filter(|(_, group)| !group.scope.masks.is_empty());
        masking
            .map(|(name, group)| (name.clone(), group.scope.clone()))
            .collect()
    }

    /// The role that owns the views of an owner's masked tables.
    pub fn keeper(&self, database: &str, owner: &str) -> Option<String> {
        self.0.get(database).map(|database| database.names.keeper(owner))
    }

    /// What keeps a database's roles from working, for `/readyz`: a code.
    pub async fn health(&self, database: &str) -> Option<&'static str> {
        let database = self.0.get(database)?;
        match database.lacks().await {
            Ok(lacks) if lacks.is_empty() => None,
            Ok(_) => Some("database-roles"),
            Err(fault) => Some(crate::base::fault::Fault::code(&fault)),
        }
    }

    /// Keeps every database's roles until `stop`: the pool filled, left-overs swept, rights in step. `current` names the
    /// scopes of today's policies, whose roles stay even when no grant uses them.
    pub async fn keep(
        self,
        current: Arc<dyn Fn() -> Vec<Current> + Send + Sync>,
        stop: tokio_util::sync::CancellationToken,
    ) {
        let keepers = self.0.values().map(|database| {
            let (database, current, stop) = (database.clone(), current.clone(), stop.clone());
            tokio::spawn(async move { keeper::keep(database, current, stop).await })
        });
        futures_util::future::join_all(keepers).await;
    }
}

impl Database {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, bearer: Bearer<'_>) -> Result<Arc<Target>, RoleFault> {
        let group = self
            .names
            .group(&bearer.claims.issuer, &bearer.claims.repository_id, bearer.scope);
        let cell = {
            let mut state = self.state();
            let taken = state.taken.entry(bearer.grant).or_insert_with(|| Taken {
                login: Arc::default(),
                group: group.clone(),
            });
            taken.login.clone()
        };
        let target = cell.get_or_try_init(|| self.fit(bearer, &group)).await.cloned()?;
        let mut state = self.state();
        let still = state
            .taken
            .get(&bearer.grant)
            .is_some_and(|taken| Arc::ptr_eq(&taken.login, &cell));
        let name = target.session_user();
        if !still && state.known.contains(name) && !state.doomed.iter().any(|doomed| doomed == name) {
            // The grant ended while its login was made.
            state.doomed.push(name.to_owned());
        }
        drop(state);
        Ok(target)
    }

    /// Takes a spare and dresses it. A scope's role that another broker has swept meanwhile is made again.
    async fn fit(&self, bearer: Bearer<'_>, group: &str) -> Result<Arc<Target>, RoleFault> {
        let spare = self.state().spares.pop();
        let spare = match spare {
            Some(spare) => spare,
            None => self.make().await?,
        };
        self.work.notify_one();
        let name = spare.name.clone();
        let mut fitted = Err(RoleFault::NoRandomness);
        for _ in 0..3 {
            fitted = self.fit_once(bearer, group, &spare).await;
            match &fitted {
                // The role is gone, or somebody changed the same row of the catalog at the same time.
                Err(fault) if fault.may_pass() => {
                    if let Some(group) = self.state().groups.get_mut(group) {
                        group.compared = None;
                    }
                }
                _ => break,
            }
        }
        match fitted {
            Ok(()) => Ok(Arc::new(self.target.with_job(JobLogin {
                user: spare.name,
                password: spare.password,
                role: group.into(),
            }))),
            Err(fault) => {
                let fault = self.explained(fault).await;
                self.state().doomed.push(name);
                Err(fault)
            }
        }
    }

    /// The fault, or what the broker's login lacks where that is behind it.
    async fn explained(&self, fault: RoleFault) -> RoleFault {
        match self.lacks().await {
            Ok(lacks) if !lacks.is_empty() => RoleFault::Lacks {
                database: self.target.name.clone(),
                lacks: lack::told(&lacks),
            },
            _ => fault,
        }
    }

    async fn fit_once(&self, bearer: Bearer<'_>, group: &str, spare: &Spare) -> Result<(), RoleFault> {
        let scope = bearer.scope;
        let claims = bearer.claims;
        let about = format!(
            "hoop-db: scope {} of {} ({}:{})",
            scope.name, claims.repository, claims.issuer, claims.repository_id
        );
        self.in_step(group, scope, &about).await?;
        let owners = self.owners(scope).await?;
        let runtimes = std::thread::available_parallelism().map_or(1, usize::from);
        let millis = |limit: &crate::policy::Limit<Duration>| limit.value.as_millis();
        let limits = &scope.limits;
        let timeouts = [
            ("statement_timeout", limits.statement_timeout.as_ref().map(millis)),
            ("lock_timeout", limits.lock_timeout.as_ref().map(millis)),
        ];
        let dress = Dress {
            group: group.to_owned(),
            keepers: owners.iter().map(|owner| self.names.keeper(owner)).collect(),
            owners,
            // Every runtime may hold a warm connection beside the ones in use, and an ended one takes a moment to go.
            connections: limits
                .max_connections
                .value
                .saturating_mul(1 + u32::try_from(runtimes).unwrap_or(1)),
            timeouts: timeouts
                .into_iter()
                .filter_map(|(name, millis)| Some((name, millis?)))
                .collect(),
            until: bearer.ends_at,
            about: format!(
                "hoop-db: {} of {}, scope {}, until {}",
                bearer.grant, claims.repository, scope.name, bearer.ends_at
            ),
        };
        let failed = |error| RoleFault::of(&self.target.name, "dressing a login", &error);
        let mut client = self.controls.get(&self.target).await?;
        let transaction = client.transaction().await.map_err(failed)?;
        login::dress(&transaction, spare, &dress).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// The owners a scope's DDL runs as, each of which the broker's login can pass on.
    async fn owners(&self, scope: &Scope) -> Result<Vec<String>, RoleFault> {
        let mut owners: Vec<String> = Vec::new();
        for owner in scope.can.iter().filter_map(|rule| rule.owner.as_deref()) {
            if !owners.iter().any(|known| known == owner) {
                owners.push(owner.to_owned());
            }
        }
        if owners.is_empty() {
            return Ok(owners);
        }
        let client = self.controls.get(&self.target).await?;
        let failed = |error| RoleFault::of(&self.target.name, "looking at an owner", &error);
        let mut lacks = Vec::new();
        for owner in &owners {
            lacks.extend(lack::of_owner(&**client, owner).await.map_err(failed)?);
        }
        if lacks.is_empty() {
            return Ok(owners);
        }
        Err(RoleFault::Lacks {
            database: self.target.name.clone(),
            lacks: lack::told(&lacks),
        })
    }

    async fn lacks(&self) -> Result<Vec<lack::Lack>, RoleFault> {
        let masks = self.state().groups.values().any(|group| !group.scope.masks.is_empty());
        lacks_of(&self.controls, &self.target, &self.names, masks).await
    }

    /// A new spare, known to the memory before the catalog knows it.
    async fn make(&self) -> Result<Spare, RoleFault> {
        let (mut spare, verifier) = Spare::draw(&self.names.own).await?;
        let client = self.controls.get(&self.target).await?;
        self.state().known.insert(spare.name.clone());
        if let Err(error) = spare.create(&**client, &verifier).await {
            // Whether it is there or not: it has to go.
            self.state().doomed.push(spare.name.clone());
            drop(client);
            let fault = RoleFault::of(&self.target.name, "making a login", &error);
            return Err(self.explained(fault).await);
        }
        Ok(spare)
    }

    /// Makes sure that a scope's role is there and holds what it should, unless that was just compared.
    async fn in_step(&self, name: &str, scope: &Arc<Scope>, about: &str) -> Result<(), RoleFault> {
        let fresh = |state: &mut State| {
            let group = state.groups.entry(name.to_owned()).or_insert_with(|| Group {
                scope: scope.clone(),
                about: about.to_owned(),
                compared: None,
                idle: BTreeSet::new(),
            });
            group.compared.is_some_and(|at| at.elapsed() < FRESH)
        };
        if fresh(&mut self.state()) {
            return Ok(());
        }
        let _turn = self.syncing.lock().await;
        if fresh(&mut self.state()) {
            return Ok(());
        }
        self.compare(name, scope, about).await
    }

    /// Compares one scope's role with the schema and evens out the difference. The caller holds `syncing`.
    async fn compare(&self, name: &str, scope: &Scope, about: &str) -> Result<(), RoleFault> {
        let failed = |error| RoleFault::of(&self.target.name, "the role of a scope", &error);
        let began = Instant::now();
        let mut client = self.controls.get(&self.target).await?;
        let transaction = client.transaction().await.map_err(failed)?;
        group::lock(&transaction, &self.names).await.map_err(failed)?;
        let idle = self
            .state()
            .groups
            .get(name)
            .map(|group| group.idle.clone())
            .unwrap_or_default();
        let on = views::Place {
            database: &self.target.name,
            names: &self.names,
            key: self.key.as_ref(),
            sight: (&self.memory, &self.controls, &self.target),
        };
        let synced = group::sync(&transaction, on, name, (scope, about), &idle).await?;
        transaction.commit().await.map_err(failed)?;
        if synced.granted + synced.revoked > 0 {
            tracing::info!(database = %self.target.name, role = %name, scope = %scope.name, granted = synced.granted,
                revoked = synced.revoked, "a scope's role was brought in step");
        }
        for (owner, rights) in &synced.withheld {
            let first = self.state().told.insert((name.to_owned(), owner.clone()));
            if first {
                tracing::warn!(database = %self.target.name, scope = %scope.name, %owner, rights,
                    "rights that the policy grants cannot be given: the broker's login is not a member of the owner; \
                     run as an administrator: GRANT {} TO {} WITH ADMIN OPTION;",
                    crate::sql::quote::identifier(owner), crate::sql::quote::identifier(&self.target.user));
            }
        }
        if let Some(group) = self.state().groups.get_mut(name) {
            group.compared = Some(began);
            group.idle = synced.idle;
        }
        Ok(())
    }
}
