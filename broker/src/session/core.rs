//! What sessions share: the house (all runtimes) and the core (one runtime).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::CancelKeys;
use super::prepared::DecisionCache;
use crate::base::clock::Clock;
use crate::base::id::GrantId;
use crate::catalog::Catalogs;
use crate::grant::Live;
use crate::reader::Reader;
use crate::record::Journal;
use crate::role::Roles;
use crate::upstream::{Cutter, Link};

/// How long a warm connection waits for the next session of its grant.
const WARM_FOR: Duration = Duration::from_secs(30);

/// Shared by every runtime.
#[derive(Debug)]
pub struct House {
    /// The time.
    pub clock: Clock,
    /// Schema snapshots.
    pub catalogs: Catalogs,
    /// The second enforcer.
    pub roles: Roles,
    /// Ends backends.
    pub cutter: Cutter,
    /// Who may cancel what.
    pub cancels: Arc<CancelKeys>,
    /// Reads what is too large to be read here.
    pub reader: Arc<Reader>,
    /// Also make reads durable before they are sent.
    pub strict: bool,
}

/// One runtime's own: never crosses a thread.
#[derive(Debug)]
pub struct Core {
    /// What all runtimes share.
    pub house: Arc<House>,
    /// This runtime's journal.
    pub journal: RefCell<Journal>,
    /// Decisions made on this runtime.
    pub decisions: RefCell<DecisionCache>,
    /// Reset connections waiting for the next session of their grant.
    pub warm: RefCell<Warm>,
}

impl Core {
    /// A runtime's core.
    pub fn new(house: Arc<House>, journal: Journal) -> Self {
        Self {
            house,
            journal: RefCell::new(journal),
            decisions: RefCell::default(),
            warm: RefCell::default(),
        }
    }
}

/// Warm upstream connections by grant. Never shared between grants.
#[derive(Debug, Default)]
pub struct Warm(HashMap<GrantId, Vec<(Instant, Arc<Live>, Link)>>);

impl Warm {
    /// Puts a reset connection by.
    pub fn put(&mut self, grant: Arc<Live>, link: Link) {
        self.0.entry(grant.id).or_default().push((Instant::now(), grant, link));
    }

    /// The most recently used connection of `grant` that started with these settings. When it has only others, the
    /// oldest of them is given up: the new one takes its place.
    pub fn take(&mut self, grant: GrantId, settings: &[(String, String)]) -> Option<Link> {
        let links = self.0.get_mut(&grant)?;
        let alike = links.iter().rposition(|(_, _, link)| link.settings == settings);
        let (_, _, link) = links.remove(alike.unwrap_or_default());
        let link = alike.map(|_| link);
        if links.is_empty() {
            self.0.remove(&grant);
        }
        link
    }

    /// Drops what waited too long or whose grant has ended; dropping closes the socket of an idle backend.
    pub fn sweep(&mut self) {
        let now = Instant::now();
        self.0.retain(|_, links| {
            links.retain(|(since, grant, _)| now.duration_since(*since) < WARM_FOR && grant.ending().is_none());
            !links.is_empty()
        });
    }
}
