//! What a statement reaches without naming it: the tables behind a view, partitions and inheritance children, what goes
//! along with DROP … CASCADE, and the functions that run with their owner's rights when a row is written.

use std::collections::{BTreeMap, BTreeSet};

use super::Walk;
use super::create::Host;
use crate::sql::grammar::NodeEnum;
use crate::sql::grammar::nodes::{self, AlterTableType, DropBehavior, Node};
use crate::sql::snapshot::{Attached, Trigger, When};
use crate::sql::{
    Class, Columns, FunctionName, Implied, Kind, Reached, Relation, RelationKind, Snapshot, Touch, Uncounted,
};

/// What a condition of the statement could make visible of rows that a view keeps to itself: only comparisons that never
/// fail are quiet.
#[derive(Debug, Default)]
pub(super) struct Noise {
    /// How many conditions the walk stands in.
    pub(super) conditions: usize,
    /// How many queries in WITH the walk stands in.
    pub(super) nested: usize,
    /// Rows are chosen somewhere.
    chooses: bool,
    /// Something in a condition can fail.
    in_condition: bool,
    /// Something in the output of an inner query can fail; a condition further out may be computed with it.
    in_output: bool,
}

impl Noise {
    fn is_loud(&self) -> bool {
        self.in_condition || (self.in_output && self.chooses)
    }
}

/// How rows of a table are written.
pub(super) enum Written<'t> {
    /// INSERT of these columns from this source.
    Inserted(&'t [&'t str], Option<&'t Node>),
    /// Rows that are not known: COPY, MERGE.
    Unknown,
    /// UPDATE of these columns.
    Updated(&'t [&'t str], &'t [Node]),
    /// DELETE or TRUNCATE.
    Gone,
}

impl<'a> Walk<'a> {
    /// A condition: WHERE, ON, HAVING.
    pub(super) fn condition(&mut self, node: Option<&Node>) {
        if let Some(node) = node {
            self.choosing(|walk| walk.expression(node));
        }
    }

    /// Reads what rows are chosen by.
    pub(super) fn choosing<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.chooses();
        self.noise.conditions += 1;
        let value = read(self);
        self.noise.conditions -= 1;
        value
    }

    /// Rows are chosen, by a condition or by a join.
    pub(super) fn chooses(&mut self) {
        self.noise.chooses = true;
    }

    /// An expression that can fail on some values.
    pub(super) fn loud(&mut self) {
        self.noise.in_condition |= self.noise.conditions > 0;
        self.noise.in_output |= self.noise.nested > 0 || self.levels.len() > 1;
    }

    /// An operator that can fail on some values.
    pub(super) fn loud_operator(&mut self, names: &[Node]) {
        let quiet = matches!(
            super::names::strings(names).as_deref(),
            Some(["=" | "<>" | "<" | "<=" | ">" | ">="] | ["pg_catalog", "=" | "<>" | "<" | "<=" | ">" | ">="])
        );
        if !quiet {
            self.loud();
        }
    }

    /// Rows of `relation` are written: rules, triggers, defaults and checks of it and of whatever holds its rows.
    pub(super) fn writes(&mut self, relation: &'a Relation, class: Class, written: &Written<'_>) {
        let event = match class {
            Class::Insert | Class::CopyIn => "insert",
            Class::Update => "update",
            Class::Delete => "delete",
            _ => "truncate",
        };
        for held in self.family(relation) {
            if !self.pays(1) {
                return;
            }
            if held.kind == RelationKind::Foreign {
                self.uncounted = Some(Uncounted::Foreign);
            }
            if held.attached.rules.iter().any(|rule| rule == event) {
                self.opaque(format!("a rule of \"{}\" makes something else of {event}", held.name));
            }
            for trigger in &held.attached.triggers {
                if trigger.events.iter().any(|known| known == event) && fires(trigger, written) {
                    self.calls(&trigger.schema, &trigger.name);
                }
            }
            for call in &held.attached.calls {
                let runs = match (&call.column, written) {
                    (_, Written::Gone) => false,
                    (None, _) | (Some(_), Written::Unknown) => true,
                    (Some(column), Written::Inserted(columns, source)) => {
                        !columns.contains(&column.as_str()) || source.is_none_or(has_default)
                    }
                    (Some(column), Written::Updated(columns, list)) => {
                        columns.contains(&column.as_str()) && list.iter().any(has_default)
                    }
                };
                if runs {
                    self.calls(&call.schema, &call.name);
                }
            }
        }
        if matches!(class, Class::Update | Class::Delete) {
            self.sets_off(relation, class, written);
        }
    }

    /// [`Walk::cascades`] from the table of an ALTER TABLE command that says CASCADE.
    pub(super) fn cascades_from(&mut self, command: &nodes::AlterTableCmd, host: &Host<'_>) {
        if DropBehavior::try_from(command.behavior) == Ok(DropBehavior::DropCascade)
            && let Some(relation) = self.snapshot.relation(host.schema, host.name)
        {
            let of_column = AlterTableType::try_from(command.subtype) == Ok(AlterTableType::AtDropColumn);
            self.cascades(relation, of_column.then_some(command.name.as_str()));
        }
    }

    /// DROP … CASCADE of a relation, or of one of its columns: views over it go, foreign keys to it go.
    pub(super) fn cascades(&mut self, dropped: &'a Relation, column: Option<&str>) {
        let mut waiting = vec![dropped];
        let mut seen = BTreeSet::new();
        while let Some(relation) = waiting.pop() {
            if !seen.insert(relation.oid) || !self.pays(everything(self.snapshot)) {
                continue;
            }
            let column = column.filter(|_| relation.oid == dropped.oid);
            let entangled = &relation.attached.entangled;
            if entangled.iter().any(|of| column.is_none() || of.as_deref() == column) {
                self.opaque(format!(
                    "CASCADE from \"{}\" reaches things that it does not name",
                    relation.name
                ));
            }
            for other in all(self.snapshot) {
                let Attached { reads, references, .. } = &other.attached;
                let same = |schema: &str, name: &str| schema == relation.schema && name == relation.name;
                let has = |columns: &[String]| column.is_none_or(|column| columns.iter().any(|known| known == column));
                if reads.iter().any(|read| {
                    same(&read.schema, &read.name) && read.columns.as_ref().is_none_or(|columns| has(columns))
                }) {
                    self.touch_relation(Class::Drop, other);
                    waiting.push(other);
                }
                if other.oid != relation.oid
                    && references
                        .iter()
                        .any(|to| same(&to.schema, &to.name) && has(&to.columns))
                {
                    self.touch_relation(Class::Alter, other);
                }
            }
        }
    }

    /// The relation and everything that holds its rows: partitions, inheritance children, theirs in turn.
    pub(super) fn family(&mut self, relation: &'a Relation) -> Vec<&'a Relation> {
        let snapshot = self.snapshot;
        let children = self.children.get_or_insert_with(|| {
            let mut children = BTreeMap::<_, Vec<&Relation>>::new();
            for child in all(snapshot).filter(|child| child.kind != RelationKind::Index) {
                for (schema, name) in &child.parents {
                    children
                        .entry((schema.as_str(), name.as_str()))
                        .or_default()
                        .push(child);
                }
            }
            children
        });
        let mut family = vec![relation];
        let mut at = 0;
        while let Some(parent) = family.get(at).copied() {
            at += 1;
            let own = children.get(&(parent.schema.as_str(), parent.name.as_str()));
            for child in own.into_iter().flatten() {
                if !family.iter().any(|known| known.oid == child.oid) {
                    family.push(child);
                }
            }
        }
        family
    }

    /// What the touched relations reach, and the relations that hold or share their rows.
    pub(super) fn implied(&mut self, touches: &[Touch]) -> (Vec<Implied>, Vec<(String, String)>) {
        let mut found = Vec::new();
        let mut reaches = BTreeSet::new();
        for touch in touches {
            let Some(relation) = self.snapshot.relation(&touch.schema, &touch.name) else {
                continue;
            };
            if is_system(&relation.schema) || !self.pays(1) {
                continue;
            }
            self.kin(relation, touch.class, &mut reaches);
            if matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView)
                && matches!(
                    touch.class,
                    Class::Select
                        | Class::Insert
                        | Class::Update
                        | Class::Delete
                        | Class::Merge
                        | Class::CopyOut
                        | Class::Lock
                        | Class::Refresh
                )
            {
                let loud = self.noise.is_loud();
                self.behind(
                    relation,
                    touch.class,
                    (&mut Vec::new(), loud),
                    (&mut found, &mut reaches),
                );
            }
        }
        (found, reaches.into_iter().collect())
    }

    /// Parents, children, and tables in which rows go when rows go here.
    fn kin(&mut self, relation: &'a Relation, class: Class, reaches: &mut BTreeSet<(String, String)>) {
        let kin = self.family(relation);
        for other in kin.iter().copied().chain(self.snapshot.ancestors(relation)) {
            if other.oid != relation.oid {
                reaches.insert((other.schema.clone(), other.name.clone()));
            }
        }
        if !matches!(class, Class::Delete | Class::Update | Class::Merge) || !self.pays(everything(self.snapshot)) {
            return;
        }
        for other in all(self.snapshot) {
            let holds = other.attached.references.iter().any(|to| {
                to.cascades
                    && kin
                        .iter()
                        .any(|member| member.schema == to.schema && member.name == to.name)
            });
            if holds {
                reaches.insert((other.schema.clone(), other.name.clone()));
            }
        }
    }

    /// What a view reads and calls, through further views too.
    fn behind(
        &mut self,
        view: &'a Relation,
        class: Class,
        (views, loud): (&mut Vec<(String, String)>, bool),
        (found, reaches): (&mut Vec<Implied>, &mut BTreeSet<(String, String)>),
    ) {
        let key = (view.schema.clone(), view.name.clone());
        if views.contains(&key) || !self.pays(1 + views.len()) {
            return;
        }
        views.push(key);
        // A barrier keeps the statement's own conditions out of everything below it.
        let leaks = loud && view.attached.leaks;
        for call in &view.attached.calls {
            found.push(Implied {
                class,
                reached: Reached::Call(FunctionName {
                    schema: call.schema.clone(),
                    name: call.name.clone(),
                }),
                views: views.clone(),
                leaks: false,
            });
        }
        for read in &view.attached.reads {
            found.extend(self.values_behind(class, read, views));
            let columns = match (&read.columns, class) {
                (Some(columns), Class::Select | Class::CopyOut) => {
                    let mut columns = columns.clone();
                    columns.sort();
                    Columns::Named(columns)
                }
                (_, Class::Delete | Class::Lock) => Columns::Named(Vec::new()),
                _ => Columns::Whole,
            };
            // Who refreshes sees nothing of what is read: only what is called counts.
            if class != Class::Refresh {
                found.push(Implied {
                    class,
                    reached: Reached::Touch(Touch {
                        class,
                        kind: Kind::Relation,
                        schema: read.schema.clone(),
                        name: read.name.clone(),
                        columns,
                    }),
                    views: views.clone(),
                    leaks,
                });
            }
            if let Some(base) = self.snapshot.relation(&read.schema, &read.name) {
                self.kin(base, class, reaches);
                if !base.attached.reads.is_empty() {
                    self.behind(base, class, (&mut *views, leaks), (&mut *found, &mut *reaches));
                }
            }
        }
        views.pop();
    }
}

fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema")
}

pub(super) fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Relation> {
    snapshot
        .relations
        .iter()
        .filter(|(schema, _)| !is_system(schema))
        .flat_map(|(_, relations)| relations.values())
}

/// What looking at every relation costs.
pub(super) fn everything(snapshot: &Snapshot) -> usize {
    snapshot.relations.values().map(BTreeMap::len).sum()
}

/// Whether a trigger can fire for what is written.
fn fires(trigger: &Trigger, written: &Written<'_>) -> bool {
    match written {
        Written::Updated(columns, list) => {
            let of = &trigger.columns;
            (of.is_empty() || of.iter().any(|column| columns.contains(&column.as_str())))
                && trigger.when.as_ref().is_none_or(|when| {
                    // A row that has the value already keeps it when the column is not written.
                    !columns.contains(&when.column.as_str()) || list.iter().any(|target| may_set(target, when))
                })
        }
        Written::Inserted(columns, source) => trigger
            .when
            .as_ref()
            .is_none_or(|when| may_insert(columns, *source, when)),
        Written::Unknown | Written::Gone => true,
    }
}

/// Whether INSERT can put the text that a trigger waits for into its column.
fn may_insert(columns: &[&str], source: Option<&Node>, when: &When) -> bool {
    let Some(at) = columns.iter().position(|column| *column == when.column) else {
        return columns.is_empty() || when.has_default;
    };
    let rows = match source.map(|source| &source.node) {
        Some(Some(NodeEnum::SelectStmt(select))) => &select.values_lists,
        _ => return true,
    };
    rows.is_empty()
        || rows.iter().any(|row| match &row.node {
            Some(NodeEnum::List(nodes::List { items })) => items.get(at).is_none_or(|value| may_be(value, when)),
            _ => true,
        })
}

fn may_set(target: &Node, when: &When) -> bool {
    match &target.node {
        Some(NodeEnum::ResTarget(target)) if target.name == when.column => {
            target.val.as_deref().is_none_or(|value| may_be(value, when))
        }
        Some(NodeEnum::ResTarget(_)) => false,
        _ => true,
    }
}

/// Whether a value can be the text: a literal is what it is, anything else may be anything.
fn may_be(value: &Node, when: &When) -> bool {
    match &value.node {
        Some(NodeEnum::AConst(nodes::AConst {
            isnull,
            location: _,
            val,
        })) => match val {
            Some(nodes::a_const::Val::Sval(nodes::String { sval })) => *sval == when.text,
            _ => !isnull,
        },
        Some(NodeEnum::SetToDefault(_)) => when.has_default,
        _ => true,
    }
}

/// Whether DEFAULT stands for a value somewhere.
fn has_default(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::SetToDefault(_)) => true,
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref().is_none_or(has_default),
        Some(NodeEnum::List(nodes::List { items })) => items.iter().any(has_default),
        Some(NodeEnum::SelectStmt(select)) => select.values_lists.iter().any(has_default),
        _ => false,
    }
}
