//! Names of relations, types, functions and operators, resolved as the server would resolve them.

use super::Walk;
use crate::sql::grammar::{NodeEnum, nodes};
use crate::sql::{FunctionName, Relation, RelationKind, TEMPORARY, functions};

/// How the server calls everybody's.
const NUMBERED: &str = "pg_temp_";

/// What a relation name that need not exist means.
pub(super) enum Target<'a> {
    /// It exists.
    Known(&'a Relation),
    /// It does not; it would be looked for, or created, here.
    New { schema: String, name: String },
}

/// The texts of a list of String nodes; `None` when something else stands there.
pub(in crate::sql) fn strings(list: &[nodes::Node]) -> Option<Vec<&str>> {
    list.iter().map(string).collect()
}

/// The text of a String node.
pub(in crate::sql) fn string(node: &nodes::Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(nodes::String { sval })) => Some(sval),
        _ => None,
    }
}

/// The alias and its column list.
pub(super) fn alias(alias: Option<&nodes::Alias>) -> (Option<&str>, Vec<&str>) {
    match alias {
        Some(nodes::Alias { aliasname, colnames }) => (Some(aliasname), strings(colnames).unwrap_or_default()),
        None => (None, Vec::new()),
    }
}

/// An option's name and value; `None` when it is not an option or stands in a name space of its own (`toast.` is plain).
pub(super) fn option(node: &nodes::Node) -> Option<(&str, Option<&nodes::Node>)> {
    let Some(NodeEnum::DefElem(option)) = &node.node else {
        return None;
    };
    let nodes::DefElem {
        defnamespace,
        defname,
        arg,
        defaction: _,
        location: _,
        arg_location: _,
    } = &**option;
    (defnamespace.is_empty() || defnamespace == "toast").then_some((defname, arg.as_deref()))
}

/// A RangeVar taken apart.
pub(super) struct Range<'t> {
    pub(super) schema: Option<&'t str>,
    pub(super) name: &'t str,
    pub(super) alias: Option<&'t nodes::Alias>,
}

impl<'a> Walk<'a> {
    /// Takes a relation name apart; `None` after recording why it cannot be judged.
    pub(super) fn range<'t>(&mut self, range: Option<&'t nodes::RangeVar>) -> Option<Range<'t>> {
        let Some(nodes::RangeVar {
            catalogname,
            schemaname,
            relname,
            inh: _,
            relpersistence,
            alias,
            location: _,
        }) = range
        else {
            self.opaque("a statement without its relation");
            return None;
        };
        if !catalogname.is_empty() && !self.is_here(catalogname) {
            return None;
        }
        let schema = match (schemaname.as_str(), relpersistence.as_str()) {
            // A temporary relation lands there; the server refuses any other schema for it.
            ("" | TEMPORARY, "t") => Some(TEMPORARY),
            ("", _) => None,
            (_, "t") => {
                self.opaque("a temporary relation in a schema that is not");
                return None;
            }
            (schema, _) => Some(schema),
        };
        if schema.is_some_and(|schema| schema.starts_with(NUMBERED)) {
            self.opaque("a temporary schema by its number: write pg_temp");
            return None;
        }
        Some(Range {
            schema,
            name: relname,
            alias: alias.as_ref(),
        })
    }

    /// True when a name's database is this one, as the server wants it; otherwise that is recorded.
    pub(super) fn is_here(&mut self, database: &str) -> bool {
        let here = !database.is_empty() && database == self.snapshot.database;
        if !here {
            self.opaque("a name with another database in front");
        }
        here
    }

    fn look_up(&self, schema: Option<&str>, name: &str) -> Option<&'a Relation> {
        match schema {
            Some(schema) => self.snapshot.relation(schema, name),
            None => self.snapshot.resolve_relation(name),
        }
    }

    /// The relation of this name; `None` after recording that there is none.
    pub(super) fn relation(&mut self, schema: Option<&str>, name: &str) -> Option<&'a Relation> {
        let found = self.look_up(schema, name);
        if found.is_none() {
            let shown = schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
            self.opaque(format!("relation {shown:?} does not exist in the live schema"));
        }
        found
    }

    /// The relation that a RangeVar names, CTEs aside.
    pub(super) fn table(&mut self, range: Option<&nodes::RangeVar>) -> Option<&'a Relation> {
        let Range { schema, name, alias: _ } = self.range(range)?;
        self.relation(schema, name)
    }

    /// The relation that a list of names means.
    pub(super) fn listed(&mut self, names: &[nodes::Node]) -> Option<&'a Relation> {
        let (schema, name) = self.pair(names)?;
        self.relation(schema, name)
    }

    /// A list of names as `[[database.]schema.]name`.
    pub(super) fn pair<'t>(&mut self, names: &'t [nodes::Node]) -> Option<(Option<&'t str>, &'t str)> {
        let pair = match strings(names).as_deref() {
            Some([name]) => Some((None, *name)),
            Some([schema, name]) => Some((Some(*schema), *name)),
            Some([database, schema, name]) if self.is_here(database) => Some((Some(*schema), *name)),
            Some([_, _, _]) => return None,
            _ => None,
        };
        match pair {
            Some((Some(schema), _)) if schema.starts_with(NUMBERED) => {
                self.opaque("a temporary schema by its number: write pg_temp");
                None
            }
            None => {
                self.opaque("a name of more than three parts");
                None
            }
            pair => pair,
        }
    }

    /// What `[schema.]name` means where it need not exist: the relation, or the place where it would be created.
    pub(super) fn target(&mut self, schema: Option<&str>, name: &str) -> Option<Target<'a>> {
        if let Some(relation) = self.look_up(schema, name) {
            return Some(Target::Known(relation));
        }
        self.landing(schema).map(|schema| Target::New {
            schema,
            name: name.to_owned(),
        })
    }

    /// The schema in which something new lands.
    pub(super) fn landing(&mut self, schema: Option<&str>) -> Option<String> {
        let schema = schema.or_else(|| self.snapshot.creation_schema());
        if schema.is_none() {
            self.opaque("no schema to create in: the search path names none");
        }
        schema.map(str::to_owned)
    }

    /// The table that owns an index, the relation itself otherwise.
    pub(super) fn owner(&mut self, relation: &'a Relation) -> Option<&'a Relation> {
        if relation.kind != RelationKind::Index {
            return Some(relation);
        }
        let owner = relation
            .owner_table
            .as_ref()
            .and_then(|(schema, name)| self.snapshot.relation(schema, name));
        if owner.is_none() {
            self.opaque(format!("the table of index \"{}\" is not known", relation.name));
        }
        owner
    }

    /// A function call by name. All functions that the name can mean are recorded.
    pub(super) fn function(&mut self, names: &[nodes::Node]) {
        match strings(names).as_deref() {
            Some([name]) => self.unqualified_function(name),
            Some([TEMPORARY, _]) => self.opaque("a temporary function"),
            Some([schema, name]) => {
                if self
                    .snapshot
                    .functions
                    .get(*name)
                    .is_some_and(|holders| holders.iter().any(|held| held == schema))
                {
                    self.meant(false, schema, name);
                } else {
                    self.opaque(format!(
                        "function {schema:?}.{name:?} does not exist in the live schema"
                    ));
                }
            }
            _ => self.opaque("a function named with its database"),
        }
    }

    /// A function called without its schema.
    pub(super) fn unqualified_function(&mut self, name: &str) {
        if !self.candidates(name) {
            self.opaque(format!("function {name:?} does not exist in the live schema"));
        }
    }

    /// Records every function that an unqualified name can mean; false when there is none.
    pub(super) fn candidates(&mut self, name: &str) -> bool {
        let schemas = self.snapshot.resolve_function(name);
        let beside = schemas.contains(&"pg_catalog") && functions::is_safe(name);
        for schema in &schemas {
            if beside && self.is_listed(&self.snapshot.overloads.plain, schema, name) {
                continue;
            }
            self.meant(beside, schema, name);
        }
        !schemas.is_empty()
    }

    /// True when a name can only mean PostgreSQL's own function.
    pub(super) fn is_catalog_only(&self, name: &str) -> bool {
        self.snapshot.resolve_function(name) == ["pg_catalog"]
    }

    /// Records a function. One whose effect is not known may change anything.
    pub(super) fn calls(&mut self, schema: &str, name: &str) {
        if schema != "pg_catalog" || !functions::is_safe(name) {
            self.changes();
        }
        let new = self.functions.insert(FunctionName {
            schema: schema.to_owned(),
            name: name.to_owned(),
        });
        if new {
            self.carried(&self.snapshot.carriers.functions, schema, name);
        }
    }

    /// A field of a value whose fields are not known: where a function of that name exists, it may be called.
    pub(super) fn attribute(&mut self, name: &str) {
        self.candidates(name);
    }

    /// An operator. Those of PostgreSQL are plain; any other on the path may be meant and counts as a function.
    pub(super) fn operator(&mut self, names: &[nodes::Node]) {
        match strings(names).as_deref() {
            // `IN`, `= ANY` and their kin may come without one.
            Some([] | ["pg_catalog", _]) => {}
            Some([name]) => self.plain_operator(name),
            Some([schema, name]) => self.meant(false, schema, name),
            _ => self.opaque("an operator named with its database"),
        }
    }

    /// An operator written or implied without a schema.
    pub(super) fn plain_operator(&mut self, name: &str) {
        let Some(holders) = self.snapshot.user_operators.get(name) else {
            return;
        };
        for schema in self
            .snapshot
            .search_path
            .iter()
            .filter(|schema| *schema != TEMPORARY && holders.contains(schema))
        {
            self.meant(true, schema, name);
        }
    }

    /// A type as it stands in a column definition or a function's column list: it must exist. Returns where it lives
    /// unless it is PostgreSQL's own.
    pub(super) fn type_name(&mut self, name: Option<&nodes::TypeName>) -> Option<(String, String)> {
        let Some(nodes::TypeName {
            names,
            type_oid: _,
            setof,
            pct_type,
            typmods,
            typemod: _,
            array_bounds: _,
            location: _,
        }) = name
        else {
            self.opaque("a type without a name");
            return None;
        };
        if *setof || *pct_type {
            self.opaque("a SETOF or %TYPE type");
            return None;
        }
        for modifier in typmods {
            // `numeric(10, 2)` and `geometry(point)`; both are constants.
            if !matches!(modifier.node, Some(NodeEnum::AConst(_) | NodeEnum::ColumnRef(_))) {
                self.opaque("a type modifier that is not a constant");
            }
        }
        let (schema, name) = self.pair(names)?;
        self.resolve_type(schema, name)
    }

    fn resolve_type(&mut self, schema: Option<&str>, name: &str) -> Option<(String, String)> {
        // `_text` is the array of `text`.
        let element = name.strip_prefix('_').filter(|element| !element.is_empty());
        let holders = self
            .snapshot
            .types
            .get(name)
            .or_else(|| self.snapshot.types.get(element?));
        let found = holders.and_then(|holders| match schema {
            Some(schema) => holders.iter().find(|holder| *holder == schema),
            None => self
                .snapshot
                .search_path
                .iter()
                .find(|on_path| holders.contains(on_path)),
        });
        if let Some(schema) = found {
            self.carried(&self.snapshot.carriers.types, schema, name);
            self.named_type(schema, name);
        }
        match found.map(String::as_str) {
            None => {
                self.opaque(format!("type {name:?} does not exist in the live schema"));
                None
            }
            Some("pg_catalog") => None,
            Some(schema) => Some((schema.to_owned(), name.to_owned())),
        }
    }
}
