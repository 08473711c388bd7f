//! Who may cancel what: the server's own process id (drivers compare it with NOTIFY's sender) with a secret of ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq;

use crate::upstream::Cut;

/// The cancel keys of every live session, on every runtime.
#[derive(Debug, Default)]
pub struct CancelKeys(Mutex<HashMap<u32, Vec<CancelKey>>>);

struct CancelKey {
    secret: Vec<u8>,
    cut: Cut,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelKey({:?})", self.cut)
    }
}

/// Keeps a session's key registered.
#[derive(Debug)]
pub struct CancelGuard {
    keys: Arc<CancelKeys>,
    pid: u32,
    secret: Vec<u8>,
}

impl CancelKeys {
    /// Registers `secret` for the backend of `cut` until the guard is dropped.
    pub fn register(self: &Arc<Self>, secret: Vec<u8>, cut: Cut) -> CancelGuard {
        let pid = cut.pid;
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.entry(pid).or_default().push(CancelKey {
            secret: secret.clone(),
            cut,
        });
        CancelGuard {
            keys: self.clone(),
            pid,
            secret,
        }
    }

    /// The backend that `pid` and `secret` name. Compared in constant time; the length is not secret.
    pub fn find(&self, pid: u32, secret: &[u8]) -> Option<Cut> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two databases may hand out the same process id: the secret decides.
        keys.get(&pid)?
            .iter()
            .find(|key| key.secret.as_slice().ct_eq(secret).into())
            .map(|key| key.cut.clone())
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        let mut keys = self.keys.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = keys.get_mut(&self.pid) {
            list.retain(|key| key.secret != self.secret);
            if list.is_empty() {
                keys.remove(&self.pid);
            }
        }
    }
}
