//! What `/readyz` asks beside the store: the ledger, the certificate, every database.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::Settings;
use crate::base::clock::Clock;
use crate::base::fault::Fault as _;
use crate::http::{Check, Probe};
use crate::proxy::Front;
use crate::record::Recorder;
use crate::upstream::control::Controls;

/// One probe per thing that can be red.
pub fn probes(
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
        async move {
            Check {
                name: "ledger".into(),
                ok: code.is_none(),
                code,
            }
        }
        .boxed()
    })];
    if let Some(tls) = &settings.tls {
        let (expires, clock) = (tls.expires_at, clock.clone());
        probes.push(Arc::new(move || {
            let ok = clock.now() < expires;
            let code = (!ok).then(|| "certificate-expired".to_owned());
            async move {
                Check {
                    name: "tls".into(),
                    ok,
                    code,
                }
            }
            .boxed()
        }));
    }
    for target in front.targets.values() {
        let (target, controls, roles) = (target.clone(), controls.clone(), front.house.roles.clone());
        probes.push(Arc::new(move || {
            let (target, controls, roles) = (target.clone(), controls.clone(), roles.clone());
            async move {
                let answer = controls.get(&target).await.map(drop);
                let code = match answer {
                    Ok(()) => roles.health(&target.name).await.map(str::to_owned),
                    Err(fault) => Some(fault.code().to_owned()),
                };
                Check {
                    name: format!("database {}", target.name),
                    ok: code.is_none(),
                    code,
                }
            }
            .boxed()
        }));
    }
    probes
}
