//! What the broker's roles are called. A name says all that a sweeper needs: whose it is and for which database; when it
//! ends stands in the role itself (`VALID UNTIL`).

use sha2::{Digest, Sha256};

use crate::policy::{Rule, Scope};

/// Logins of grants and of the pool.
const LOGIN: &str = "hoop_l_";
/// Roles of scopes.
const GROUP: &str = "hoop_g_";
/// Roles that own the views of masked tables.
const KEEPER: &str = "hoop_v_";

/// The names of one database's roles, as one broker gives them.
#[derive(Debug, Clone)]
pub struct Names {
    /// Begins every login for this database, whichever broker made it.
    pub logins: String,
    /// Begins every login of this very broker for this database.
    pub own: String,
    /// Begins every scope's role for this database.
    pub groups: String,
    /// Begins every role that owns views of masked tables of this database.
    pub keepers: String,
}

impl Names {
    /// For the operator's `target` with the real name `database`, as the broker `instance`.
    pub fn new(instance: &str, target: &str, database: &str) -> Self {
        let logins = format!("{LOGIN}{}_", short(&[database]));
        Self {
            own: format!("{logins}{}_", short(&[instance, target])),
            logins,
            groups: format!("{GROUP}{}_", short(&[database])),
            keepers: format!("{KEEPER}{}_", short(&[database])),
        }
    }

    /// The role of a scope. Scopes that grant the same to the same repository share it, whatever lines they stand on;
    /// one that changes gets another, so that the grants of before keep what they were given.
    pub fn group(&self, issuer: &str, repository: &str, scope: &Scope) -> String {
        let mut parts = vec![issuer.to_owned(), repository.to_owned(), scope.name.clone()];
        for (side, rules) in [("can", &scope.can), ("ceiling", &scope.ceiling)] {
            parts.push(side.to_owned());
            for rule in rules {
                push_rule(&mut parts, rule);
            }
        }
        if scope.limits.read_only.is_some() {
            parts.push("read-only".to_owned());
        }
        parts.push("never".to_owned());
        parts.extend(scope.never.iter().map(|never| never.pattern.as_str().to_owned()));
        if !scope.masks.is_empty() {
            parts.push("masks".to_owned());
            parts.extend(scope.masks.iter().flat_map(|rule| [rule.name(), rule.mask.to_string()]));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        format!("{}{}", self.groups, hex(&parts, 12))
    }

    /// The role that owns the views of `owner`'s masked tables.
    pub fn keeper(&self, owner: &str) -> String {
        format!("{}{}", self.keepers, hex(&[owner], 12))
    }
}

fn push_rule(parts: &mut Vec<String>, rule: &Rule) {
    parts.push("rule".to_owned());
    parts.extend(rule.classes.iter().map(|class| class.as_str().to_owned()));
    parts.push("tables".to_owned());
    parts.extend(rule.tables.iter().map(|table| table.pattern.as_str().to_owned()));
    parts.push("functions".to_owned());
    parts.extend(rule.functions.iter().map(|name| name.pattern.as_str().to_owned()));
    if let Some(columns) = &rule.columns {
        parts.push("columns".to_owned());
        parts.extend(columns.iter().cloned());
    }
}

/// The key of the advisory lock under which a database's scope roles are changed.
pub fn lock_key(groups: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(groups.as_bytes()).into();
    digest
        .iter()
        .take(8)
        .fold(0_i64, |key, &byte| (key << 8) | i64::from(byte))
}

fn short(parts: &[&str]) -> String {
    hex(parts, 4)
}

/// The first `bytes` of a digest over the parts, each with its length.
fn hex(parts: &[&str], bytes: usize) -> String {
    use std::fmt::Write as _;
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest
        .finalize()
        .iter()
        .take(bytes)
        .fold(String::new(), |mut out, byte| {
            let _infallible = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::testing;

    #[test]
    fn names_tell_databases_and_brokers_apart_and_fit() {
        let one = Names::new("broker-1", "orders", "orders");
        let other = Names::new("broker-2", "orders", "orders");
        assert_eq!(one.logins, other.logins);
        assert_ne!(one.own, other.own);
        assert_ne!(one.logins, Names::new("broker-1", "orders", "shop").logins);
        assert!(one.own.starts_with(&one.logins) && one.own.len() + 16 < 63);
        assert!(one.own.starts_with("hoop_") && one.groups.starts_with("hoop_"));
    }

    #[test]
    fn a_scope_keeps_its_role_while_it_grants_the_same() {
        let names = Names::new("broker-1", "orders", "orders");
        let scope = testing::scope("migrate");
        let name = names.group("github", "1", &scope);
        assert!(name.len() < 63);
        let mut moved = Scope::clone(&scope);
        moved.origin.line += 7;
        moved.digest = "another".into();
        assert_eq!(names.group("github", "1", &moved), name);
        moved.never.push(crate::policy::RelationPattern {
            origin: scope.origin.clone(),
            pattern: crate::base::pattern::Pattern::new("app.x", '.').unwrap(),
        });
        assert_ne!(names.group("github", "1", &moved), name);
        assert_ne!(names.group("github", "2", &scope), name);
    }
}
