//! What the broker's login needs for roles, what of it is missing, and the SQL that cures it.

use tokio_postgres::GenericClient;

use crate::sql::quote::identifier;

/// Something the broker's login lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lack {
    /// What.
    pub what: String,
    /// What an administrator runs.
    pub sql: String,
}

/// All of it in one line for the log.
pub fn told(lacks: &[Lack]) -> String {
    lacks
        .iter()
        .map(|lack| format!("{}; run as an administrator: {}", lack.what, lack.sql))
        .collect::<Vec<_>>()
        .join("; ")
}

/// What the login lacks whatever the scopes say; the the broker's own roles begin with `own`.
pub async fn of_login(client: &impl GenericClient, own: &[&str]) -> Result<Vec<Lack>, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT r.rolname::pg_catalog.text, r.rolsuper OR r.rolcreaterole, \
             pg_catalog.pg_has_role(CURRENT_USER, 'pg_signal_backend', 'USAGE'), \
             pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT') \
             OR pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CONNECT WITH GRANT OPTION'), \
             pg_catalog.current_database()::pg_catalog.text \
             , ARRAY(SELECT g.rolname::pg_catalog.text FROM pg_catalog.pg_roles g \
               WHERE EXISTS (SELECT 1 FROM pg_catalog.unnest($1::pg_catalog.text[]) own(name) \
                 WHERE pg_catalog.starts_with(g.rolname::pg_catalog.text, own.name)) \
               AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 160000 \
               AND NOT pg_catalog.pg_has_role(CURRENT_USER, g.oid, 'USAGE WITH ADMIN OPTION')) \
             FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER",
            &[&own],
        )
        .await?;
    let strangers: Vec<String> = row.get(5);
    let (login, creates, signals): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let (connects, database): (bool, String) = (row.get(3), row.get(4));
    let mut lacks = Vec::new();
    let mut lack = |missing: bool, what: &str, sql: String| {
        if missing {
            lacks.push(Lack {
                what: what.to_owned(),
                sql,
            });
        }
    };
    let (login, database) = (identifier(&login), identifier(&database));
    lack(
        !creates,
        "the broker's login may not create roles",
        format!("ALTER ROLE {login} CREATEROLE;"),
    );
    lack(
        !signals,
        "the broker's login may not end sessions of other roles",
        format!("GRANT pg_signal_backend TO {login};"),
    );
    lack(
        !connects,
        "PUBLIC may not connect to the database, and the broker's login may not let the logins of jobs in",
        format!("GRANT CONNECT ON DATABASE {database} TO {login} WITH GRANT OPTION;"),
    );
    // From 16 on CREATEROLE is a say over the roles one made, and over no others.
    for stranger in &strangers {
        let stranger = identifier(stranger);
        lack(
            true,
            &format!("the broker's role {stranger} was made by another login"),
            format!("GRANT {stranger} TO {login} WITH ADMIN OPTION;"),
        );
    }
    Ok(lacks)
}

/// What the login lacks to let logins act as `owner`, and to pass on rights on what it owns.
pub async fn of_owner(client: &impl GenericClient, owner: &str) -> Result<Option<Lack>, tokio_postgres::Error> {
    let row = client
        .query_opt(
            "SELECT o.rolsuper, pg_catalog.pg_has_role(CURRENT_USER, o.oid, 'USAGE'), \
             pg_catalog.pg_has_role(CURRENT_USER, o.oid, 'USAGE WITH ADMIN OPTION') OR me.rolsuper, \
             me.rolname::pg_catalog.text, pg_catalog.current_setting('server_version_num')::pg_catalog.int4 \
             FROM pg_catalog.pg_roles o, pg_catalog.pg_roles me \
             WHERE o.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name \
             AND me.rolname OPERATOR(pg_catalog.=) CURRENT_USER",
            &[&owner],
        )
        .await?;
    let Some(row) = row else {
        return Ok(Some(Lack {
            what: format!("there is no role {}, which a scope names under `as`", identifier(owner)),
            sql: format!("CREATE ROLE {} NOLOGIN;", identifier(owner)),
        }));
    };
    let (superuser, member, admin): (bool, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let (login, version): (String, i32) = (row.get(3), row.get(4));
    let (owner, login) = (identifier(owner), identifier(&login));
    if superuser {
        return Ok(Some(Lack {
            what: format!("{owner} is a superuser: no job may act as one"),
            sql: format!("ALTER ROLE {owner} NOSUPERUSER;"),
        }));
    }
    // Before 16 CREATEROLE passes on every role that is not a superuser.
    // From then on a membership that is there keeps its INHERIT unless the GRANT names it.
    let how = if version >= 160_000 {
        "ADMIN TRUE, INHERIT TRUE"
    } else {
        "ADMIN OPTION"
    };
    Ok((!member || (!admin && version >= 160_000)).then(|| Lack {
        what: format!("the broker's login is not a member of {owner} with ADMIN OPTION and its rights"),
        sql: format!("GRANT {owner} TO {login} WITH {how};"),
    }))
}
