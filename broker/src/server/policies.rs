//! The policies directory: compiled at the start, looked at again and again, a new set put in force when a file changed,
//! for live grants as well.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::catalog::memory::Scopes;
use crate::decide::admit;
use crate::grant::{Grants, Live};
use crate::policy::narrow::taken_away;
use crate::policy::operator::Operator;
use crate::policy::set::Policies;

/// How often the policies directory is looked at.
const POLL: Duration = Duration::from_secs(5);
/// A changed directory is read again after this long: a file that is still being written must not end anybody's grant.
const SETTLE: Duration = Duration::from_millis(500);

/// The scopes of today's policies, by the name of their database.
pub fn on_database(policies: Arc<ArcSwap<Policies>>) -> Scopes {
    let all = super::roles::current(policies);
    Arc::new(move |database| {
        let scopes = all().into_iter().map(|(_, _, scope)| scope);
        scopes.filter(|scope| scope.database == database).collect()
    })
}

/// Compiles every registered repository's file in `folder`.
pub fn load(operator: &Operator, folder: &Path) -> Policies {
    Policies::load(operator, |file| std::fs::read_to_string(folder.join(file)))
}

/// Looks at the policies directory, puts a new set in force when a file changed, and ends the live grants from which it
/// takes something away.
pub async fn follow(operator: Operator, folder: PathBuf, policies: Arc<ArcSwap<Policies>>, grants: Arc<Grants>) {
    let mut last = fingerprints(&policies.load());
    loop {
        tokio::time::sleep(POLL).await;
        let Some(mut loaded) = read(&operator, &folder).await else {
            continue;
        };
        if last != fingerprints(&loaded) {
            tokio::time::sleep(SETTLE).await;
            let Some(settled) = read(&operator, &folder).await else {
                continue;
            };
            loaded = settled;
        }
        let now = fingerprints(&loaded);
        if last != now {
            report(&loaded);
            policies.store(Arc::new(loaded));
            last = now;
        }
        // Every time, not only after a change: a grant may have been on its way under the set before.
        let today = policies.load_full();
        let ended = grants.rejudge(|live| lost(live, &today)).await;
        if ended > 0 {
            tracing::warn!(ended, "grants ended by a changed policy");
        }
    }
}

async fn read(operator: &Operator, folder: &Path) -> Option<Policies> {
    let (operator, folder) = (operator.clone(), folder.to_owned());
    tokio::task::spawn_blocking(move || load(&operator, &folder)).await.ok()
}

/// What today's policies take away from a live grant: its job is not admitted any more, or its scope grants less.
fn lost(live: &Live, policies: &Policies) -> Option<String> {
    let (_, scope) = match admit::find_scope(&live.claims, &live.scope.name, policies) {
        Ok(found) => found,
        Err(refusal) => return Some(refusal.detail),
    };
    if scope.digest == live.scope.digest {
        return None;
    }
    match admit::admit(&live.claims, &live.scope.name, policies) {
        Ok(_) => taken_away(&live.scope, scope),
        Err(refusal) => Some(refusal.detail),
    }
}

/// What tells one set of policies from another: each repository's file digest.
fn fingerprints(policies: &Policies) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = policies
        .repositories()
        .map(|repository| {
            let entry = &repository.registration;
            let sha = repository
                .policy
                .as_ref()
                .map_or_else(ToString::to_string, |compiled| compiled.sha.to_string());
            (format!("{}:{}", entry.issuer, entry.repository_id), sha)
        })
        .collect();
    all.sort();
    all
}

/// Tells the operator what is wrong with which policy.
pub fn report(policies: &Policies) {
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
