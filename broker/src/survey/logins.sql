-- Who can log in, and how far a leaked password of theirs would reach. One JSON document.
WITH RECURSIVE
-- From 16 on there is one row per grantor.
members AS (SELECT DISTINCT member, roleid FROM pg_catalog.pg_auth_members),
user_tables AS (
  SELECT c.oid, c.relowner
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
),
tree AS (
  SELECT m.member AS login, m.roleid, ARRAY[m.roleid] AS path
  FROM members m JOIN pg_catalog.pg_roles r ON r.oid = m.member
  WHERE r.rolcanlogin
  UNION ALL
  SELECT t.login, m.roleid, t.path || m.roleid
  FROM tree t JOIN members m ON m.member = t.roleid
  WHERE NOT m.roleid = ANY (t.path)
),
memberships AS (
  SELECT t.login, pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
      'path', (SELECT pg_catalog.jsonb_agg(g.rolname ORDER BY p.at)
               FROM pg_catalog.unnest(t.path) WITH ORDINALITY p(oid, at) JOIN pg_catalog.pg_roles g ON g.oid = p.oid),
      'inherits', pg_catalog.pg_has_role(t.login, t.roleid, 'USAGE'),
      'superuser', role.rolsuper
    ) ORDER BY t.path) AS all
  FROM tree t JOIN pg_catalog.pg_roles role ON role.oid = t.roleid
  GROUP BY t.login
),
reach AS (
  SELECT r.oid,
    pg_catalog.count(*) FILTER (WHERE pg_catalog.has_any_column_privilege(r.oid, t.oid, 'SELECT')) AS reads,
    pg_catalog.count(*) FILTER (WHERE pg_catalog.has_any_column_privilege(r.oid, t.oid, 'INSERT, UPDATE')
                                   OR pg_catalog.has_table_privilege(r.oid, t.oid, 'DELETE')) AS changes,
    pg_catalog.count(*) FILTER (WHERE pg_catalog.has_table_privilege(r.oid, t.oid, 'TRUNCATE')) AS empties,
    pg_catalog.count(*) FILTER (WHERE pg_catalog.pg_has_role(r.oid, t.relowner, 'USAGE')) AS drops
  FROM pg_catalog.pg_roles r CROSS JOIN user_tables t
  WHERE r.rolcanlogin
  GROUP BY r.oid
)
SELECT pg_catalog.jsonb_build_object(
  'database', pg_catalog.current_database(),
  'tables', (SELECT pg_catalog.count(*) FROM user_tables),
  'logins', (
    SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
      'name', r.rolname,
      'superuser', r.rolsuper,
      'creates_roles', r.rolcreaterole,
      'creates_databases', r.rolcreatedb,
      'bypasses_row_security', r.rolbypassrls,
      'replicates', r.rolreplication,
      'valid_until', CASE WHEN r.rolvaliduntil < 'infinity'
        THEN pg_catalog.to_char(pg_catalog.timezone('UTC', r.rolvaliduntil), 'YYYY-MM-DD"T"HH24:MI:SS"Z"') END,
      'connects', pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT'),
      'reads', COALESCE(reach.reads, 0),
      'changes', COALESCE(reach.changes, 0),
      'empties', COALESCE(reach.empties, 0),
      'drops', COALESCE(reach.drops, 0),
      'member_of', COALESCE(memberships.all, '[]')
    ) ORDER BY r.rolname)
    FROM pg_catalog.pg_roles r
    LEFT JOIN reach ON reach.oid = r.oid
    LEFT JOIN memberships ON memberships.login = r.oid
    WHERE r.rolcanlogin
  )
)::text
