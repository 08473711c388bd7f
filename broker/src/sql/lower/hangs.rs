//! Functions that others run. Whoever gives such a function another body puts code of their own where a trigger, a
//! default, a check, a view or a SECURITY DEFINER function runs it, with the rights of whoever sets that off. So it counts
//! as making anew what hangs on the function, and as calling it.

use super::Walk;
use crate::sql::snapshot::{Called, Place};
use crate::sql::{Class, FunctionName, Hang, Kind, Touch};

impl Walk<'_> {
    /// A function that is there gets another body, other settings or another owner.
    pub(super) fn replaces_function(&mut self, schema: &str, name: &str) {
        let hangs = &self.snapshot.hangs;
        if !self.pays(hangs.held.len() + hangs.extensions.len()) {
            return;
        }
        for called in hangs.held.iter().filter(|held| is(held, schema, name)) {
            self.hang(called, schema, name);
        }
        let extension = hangs
            .extensions
            .iter()
            .find(|(in_schema, known, _)| in_schema == schema && known == name);
        if let Some((.., extension)) = extension {
            self.hangs.push(Hang {
                function: function(schema, name),
                on: format!("extension {extension}"),
                place: None,
            });
        }
    }

    /// A function appears under a name: what calls that name by its text may mean this one from now on.
    pub(super) fn function_appears(&mut self, schema: &str, name: &str) {
        let hangs = &self.snapshot.hangs;
        if !self.pays(hangs.said.len()) {
            return;
        }
        let (schema_said, name_said) = (schema.to_lowercase(), name.to_lowercase());
        for called in hangs.said.iter().filter(|said| is(said, &schema_said, &name_said)) {
            self.hang(called, schema, name);
        }
    }

    fn hang(&mut self, called: &Called, schema: &str, name: &str) {
        let snapshot = self.snapshot;
        for at in &called.places {
            let Some(place) = snapshot.hangs.places.get(*at) else {
                self.opaque("a function that others run, for what is not known");
                continue;
            };
            let on = match &called.within {
                Some(within) if !place.words.contains(within) => format!("{} (by {within})", place.words),
                _ => place.words.clone(),
            };
            self.hangs.push(Hang {
                function: function(schema, name),
                on,
                place: touch(place),
            });
        }
    }
}

fn function(schema: &str, name: &str) -> FunctionName {
    FunctionName {
        schema: schema.to_owned(),
        name: name.to_owned(),
    }
}

fn is(called: &Called, schema: &str, name: &str) -> bool {
    called.name == name && called.schema.as_ref().is_none_or(|known| known == schema)
}

/// What making it anew would touch.
fn touch(place: &Place) -> Option<Touch> {
    let kind = place.kind?;
    Some(Touch {
        class: match kind {
            Kind::Trigger | Kind::Policy | Kind::Cast | Kind::Operator => Class::Create,
            _ => Class::Alter,
        },
        kind,
        schema: place.schema.clone()?,
        name: place.name.clone()?,
        columns: crate::sql::Columns::Whole,
    })
}
