//! The second enforcer, put together: which databases have one, under which name this broker keeps its roles there, and
//! which scopes they are for.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;

use super::Settings;
use crate::base::secret::{Secret, random_base62};
use crate::catalog::Memory;
use crate::mask::keyed::Pads;
use crate::policy::Enforcement;
use crate::policy::set::Policies;
use crate::role::{Current, Roles};
use crate::upstream::Target;
use crate::upstream::control::Controls;

/// The file that holds this broker's name among the brokers of a database.
const INSTANCE: &str = "instance";

/// The roles of every database with `enforcement: role`; for the others the operator is told what that means.
pub fn roles(
    settings: &Settings,
    targets: &HashMap<String, Arc<Target>>,
    controls: &Controls,
    memory: &Arc<Memory>,
) -> Result<Roles> {
    let mut all = Vec::new();
    for (name, database) in &settings.databases {
        if let Some(caveat) = database.enforcement.caveat() {
            tracing::warn!(database = %name, enforcement = database.enforcement.as_str(), "{caveat}");
        }
        if let Some(target) = targets.get(name) {
            let pads = |key: &Secret| Pads::of(key.expose().as_bytes());
            all.push((target, database.enforcement, database.mask_key.as_ref().map(pads)));
        }
    }
    let needed = all.iter().any(|(_, enforcement, _)| *enforcement == Enforcement::Role);
    let instance = if needed {
        instance(&settings.state)?
    } else {
        String::new()
    };
    Ok(Roles::new(&instance, all, controls, memory))
}

/// Drawn once and kept beside the store: the next process knows by it what this one left behind.
fn instance(state: &Path) -> Result<String> {
    let path = state.join(INSTANCE);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let drawn = random_base62(22)?;
    let write = || -> std::io::Result<()> {
        // Whole or not at all: half a name would be another broker's.
        let draft = path.with_extension("new");
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(drawn.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        std::fs::File::open(state)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(drawn)
}

/// The scopes of today's policies.
pub fn current(policies: Arc<ArcSwap<Policies>>) -> Arc<dyn Fn() -> Vec<Current> + Send + Sync> {
    Arc::new(move || {
        let policies = policies.load();
        let mut all = Vec::new();
        for repository in policies.repositories() {
            let entry = &repository.registration;
            let scopes = repository.policy.iter().flat_map(|compiled| compiled.scopes.values());
            all.extend(
                scopes
                    .flatten()
                    .map(|scope| (entry.issuer.clone(), entry.repository_id.clone(), Arc::clone(scope))),
            );
        }
        all
    })
}
