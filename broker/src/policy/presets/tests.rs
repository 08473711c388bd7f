//! The published files: every one is read, none grants what presets never grant, none changes once it is published.

use super::*;

#[test]
fn every_file_is_read() {
    for (title, text) in FILES {
        if find(title).is_none() {
            let found = Preset::read(title, text, all()).map(|preset| preset.name);
            panic!("{title}: {found:#?}");
        }
    }
    assert_eq!(all().len(), FILES.len());
    assert!(all().iter().all(|preset| !preset.rules.is_empty()));
}

/// A published text never changes: a scope that names a preset would be widened or narrowed in silence. What has to
/// change becomes the next version, in a file of its own.
#[test]
fn a_published_file_never_changes() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/presets/PUBLISHED");
    let now: String = FILES
        .iter()
        .map(|(title, text)| format!("{}  {title}", hex(&Sha256::digest(text.as_bytes()))) + "\n")
        .collect();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    assert_eq!(
        now,
        std::fs::read_to_string(&path).unwrap_or_default(),
        "{}",
        path.display()
    );
}

#[test]
fn no_preset_reaches_secrets_values_or_application_tables() {
    let relations = [
        "app.orders",
        "pg_catalog.pg_authid",
        "pg_catalog.pg_shadow",
        "pg_catalog.pg_user_mapping",
        "pg_catalog.pg_user_mappings",
        "pg_catalog.pg_statistic",
        "pg_catalog.pg_stats",
        "pg_catalog.pg_statistic_ext_data",
        "pg_catalog.pg_stat_activity",
        "pg_catalog.pg_hba_file_rules",
        "pg_catalog.pg_file_settings",
        "pg_catalog.pg_largeobject",
        "pg_catalog.pg_prepared_statements",
        "pg_catalog.pg_cursors",
        "pg_catalog.pg_db_role_setting",
        "information_schema.user_mapping_options",
        "information_schema.foreign_server_options",
    ];
    let columns = [
        ("pg_catalog.pg_subscription", "subconninfo"),
        ("pg_catalog.pg_roles", "rolpassword"),
        ("pg_catalog.pg_roles", "rolconfig"),
        ("pg_catalog.pg_attribute", "attmissingval"),
        ("pg_catalog.pg_settings", "setting"),
    ];
    let functions = [
        "query_to_xml",
        "pg_read_file",
        "lo_get",
        "set_config",
        "pg_terminate_backend",
        "pg_stat_get_activity",
        "pg_sleep",
        "dblink",
        "setval",
    ];
    for preset in all() {
        for rule in &preset.rules {
            let covers = |name: &str| rule.tables.iter().any(|table| table.pattern.matches(name));
            for relation in relations {
                assert!(!covers(relation), "{preset} {relation}");
            }
            for (relation, column) in columns {
                let whole = rule.columns.as_ref().is_none_or(|columns| columns.contains(column));
                // pg_dump always reads the default that ADD COLUMN stored.
                let known = preset.name == "introspection/pg-dump" && column == "attmissingval";
                assert!(known || !(covers(relation) && whole), "{preset} {relation}.{column}");
            }
            for name in functions {
                for schema in ["pg_catalog", "public"] {
                    let reached = rule.functions.iter().any(|glob| glob.covers(schema, name));
                    assert!(!reached, "{preset} {schema}.{name}");
                }
            }
            let writes = rule.classes.iter().any(|class| *class != Class::Select);
            assert!(
                !writes
                    || !rule
                        .tables
                        .iter()
                        .map(|table| table.pattern.as_str())
                        .any(|text| text.starts_with("pg_") && text != "pg_temp.*"),
                "{preset} writes to a catalog"
            );
            // The version table is named in full: its schema is the application's choice. What is temporary is the job's own.
            let own = |glob: &RelationPattern| {
                let text = glob.pattern.as_str();
                text == "pg_temp.*"
                    || !text.contains('*')
                    || text.strip_prefix("*.").is_some_and(|name| !name.contains('*'))
            };
            assert!(rule.tables.iter().chain(&rule.functions).all(own), "{preset}");
        }
    }
}

#[test]
fn without_a_version_the_newest_is_meant() {
    assert_eq!(find("migrations/alembic").map(|preset| preset.version), Some(1));
    assert_eq!(
        find("migrations/alembic@1").map(|preset| preset.name),
        Some("migrations/alembic")
    );
    assert!(find("migrations/alembic@2").is_none() && find("alembic").is_none() && find("").is_none());
}

#[test]
fn only_introspection_is_fit_for_proposed_changes() {
    for preset in all() {
        assert_eq!(
            preset.only_reads(),
            preset.name.starts_with("introspection/"),
            "{preset}"
        );
    }
}
