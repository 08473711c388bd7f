//! The policies directory: compiled at the start, looked at again and again, a new set put in force when a file changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::policy::operator::Operator;
use crate::policy::set::Policies;

/// How often the policies directory is looked at.
const POLL: Duration = Duration::from_secs(5);

/// Compiles every registered repository's file in `folder`.
pub fn load(operator: &Operator, folder: &Path) -> Policies {
    Policies::load(operator, |file| std::fs::read_to_string(folder.join(file)))
}

/// Looks at the policies directory and puts a new set in force when a file changed.
pub async fn follow(operator: Operator, folder: PathBuf, policies: Arc<ArcSwap<Policies>>) {
    let mut last = fingerprints(&policies.load());
    loop {
        tokio::time::sleep(POLL).await;
        let (operator, folder) = (operator.clone(), folder.clone());
        let Ok(loaded) = tokio::task::spawn_blocking(move || load(&operator, &folder)).await else {
            continue;
        };
        let now = fingerprints(&loaded);
        if last != now {
            report(&loaded);
            policies.store(Arc::new(loaded));
            last = now;
        }
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
