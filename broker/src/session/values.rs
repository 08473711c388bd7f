//! Bound values that are judged: names of settings that a statement reads by a parameter, and search paths.

use super::Session;
use super::prepared::Prepared;
use super::refusal::Refused;
use crate::decide::{Permit, judge};
use crate::sql::Ask;
use crate::wire::frame::{self, Head};
use crate::wire::frontend;

/// A longer Bind is not looked into: where a value of it has to be judged, it is refused.
pub(super) const LONGEST: usize = 4096;

impl<C> Session<C> {
    /// The values that name settings to be read, or a search path.
    pub(super) fn judge_values(&self, prepared: &Prepared, head: Head) -> Result<(), Box<Refused>> {
        let (scope, schema) = (&self.grant.scope, self.view.snapshot());
        let body = self.inbound.get(frame::HEADER..head.total).unwrap_or_default();
        let values = frontend::bound(body).unwrap_or_default();
        for ask in prepared.permit().map(Permit::asks).unwrap_or_default() {
            let (Ask::Setting(parameter) | Ask::Path(parameter)) = *ask;
            let value = usize::from(parameter).checked_sub(1).and_then(|at| values.get(at));
            let judged = match value {
                Some(value) => judge::bound(*ask, *value, scope, schema),
                // The message is too long to be looked into, or the server would refuse it.
                None => judge::bound(*ask, Some(b"\xff"), scope, schema),
            };
            judged.map_err(|denial| Refused::by(*denial))?;
        }
        Ok(())
    }
}
