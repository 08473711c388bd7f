//! What a database looks like: any change of its catalogs or of its rows changes one of the prints.

use anyhow::Result;
use tokio_postgres::Client;

/// What a database looks like at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Print {
    /// Its schema.
    pub catalog: String,
    /// The roles of the cluster, those of the broker left out but the ones that were asked for.
    pub roles: String,
    /// What its tables, sequences and large objects hold.
    pub rows: String,
}

/// What a case left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The database is as it was.
    Nothing,
    /// Rows were changed.
    Rows,
    /// The schema, roles or settings were changed.
    Schema,
}

impl Print {
    /// Takes the print of the database that `client` is in. The broker makes and drops logins all the time: of its roles
    /// only `own` count.
    pub async fn take(client: &Client, own: &[String]) -> Result<Self> {
        let row = client.query_one(PRINT, &[&own]).await?;
        Ok(Self {
            catalog: row.get(0),
            roles: row.get(1),
            rows: row.get(2),
        })
    }

    /// What happened between `clean` and now.
    pub fn since(&self, clean: &Self) -> Left {
        if self == clean {
            Left::Nothing
        } else if self.catalog == clean.catalog && self.roles == clean.roles {
            Left::Rows
        } else {
            Left::Schema
        }
    }
}

/// Catalogs by the physical place and the age of their rows; rows of tables, sequences and large objects by what they
/// hold. Temporary schemas stay behind after any session that used one.
const PRINT: &str = r"
WITH catalogs(name) AS (VALUES ('pg_attrdef'), ('pg_attribute'), ('pg_cast'),
  ('pg_class'), ('pg_collation'), ('pg_constraint'), ('pg_conversion'), ('pg_default_acl'),
  ('pg_description'), ('pg_event_trigger'), ('pg_extension'), ('pg_foreign_data_wrapper'), ('pg_foreign_server'),
  ('pg_index'), ('pg_inherits'), ('pg_language'), ('pg_operator'), ('pg_parameter_acl'), ('pg_policy'), ('pg_proc'),
  ('pg_publication'), ('pg_rewrite'), ('pg_seclabel'), ('pg_statistic_ext'), ('pg_subscription'), ('pg_tablespace'),
  ('pg_transform'), ('pg_trigger'), ('pg_type'), ('pg_user_mapping')),
known AS (SELECT oid FROM pg_authid WHERE rolname !~ '^hoop_[lg]_' OR rolname = ANY ($1::text[])),
tables AS (SELECT c.oid, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname !~ '^(pg_|information_schema)')
SELECT
  (SELECT md5(string_agg(md5(query_to_xml(format('SELECT sum(hashtext(ctid::text || xmin::text)) FROM %I', name), true, true, '')::text), '' ORDER BY name)
     || pg_read_file('postgresql.auto.conf')
     || (SELECT coalesce(string_agg(nspname || nspowner::text || coalesce(nspacl::text, ''), ',' ORDER BY oid), '') FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'))
   FROM catalogs),
  concat((SELECT sum(hashtext(a.ctid::text || a.xmin::text)) FROM pg_authid a WHERE a.oid IN (SELECT oid FROM known)),
    (SELECT sum(hashtext(m.ctid::text || m.xmin::text)) FROM pg_auth_members m WHERE m.member IN (SELECT oid FROM known)),
    (SELECT sum(hashtext(s.ctid::text || s.xmin::text)) FROM pg_db_role_setting s WHERE s.setrole = 0 OR s.setrole IN (SELECT oid FROM known))),
  (SELECT md5(coalesce(string_agg(md5(query_to_xml(format('SELECT t.ctid, t.xmin, t.* FROM ONLY %s t', oid::regclass), true, true, '')::text), '' ORDER BY relname, oid), '')
     || (SELECT coalesce(sum(hashtext(ctid::text || xmin::text)), 0)::text FROM pg_largeobject)
     || (SELECT count(*)::text FROM pg_prepared_xacts)) FROM tables)";
