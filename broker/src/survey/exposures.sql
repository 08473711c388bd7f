-- What the database gives to everybody, and what runs with the rights of somebody else. One JSON array of
-- {kind, schema, name, on, owner, fix}; `on` and `name` of a trigger are its table. The fixes are printed, never run.
WITH
here AS (
  SELECT n.oid, n.nspname, n.nspacl, n.nspowner FROM pg_catalog.pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
),
definers AS (
  SELECT p.oid, p.proacl, p.proowner, p.proconfig, n.nspname, p.proname,
         pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS signature,
         CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS word,
         o.rolname AS owner, o.rolsuper
  FROM pg_catalog.pg_proc p JOIN here n ON n.oid = p.pronamespace JOIN pg_catalog.pg_roles o ON o.oid = p.proowner
  WHERE p.prosecdef
),
-- Code that runs with the rights of whoever changes a row, and does more than look at that row.
invokers AS (
  SELECT p.oid, n.nspname, p.proname
  FROM pg_catalog.pg_proc p JOIN here n ON n.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  WHERE NOT p.prosecdef
    AND (l.lanname NOT IN ('plpgsql', 'sql') OR p.prosqlbody IS NOT NULL
      OR p.prosrc ~* '\m(select|insert|update|delete|merge|truncate|copy|perform|execute|call|lock|notify|set_config|dblink)\M|\w\.\w+\s*\(')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
),
found AS (
  SELECT 'public-create' AS kind, n.nspname AS schema, n.nspname AS name, NULL::text AS "on", NULL::text AS owner,
         pg_catalog.format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC;', n.nspname) AS fix
  FROM here n, pg_catalog.aclexplode(COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
  WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'
  UNION ALL
  SELECT 'public-temporary', NULL, d.datname, NULL, NULL,
         pg_catalog.format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC;', d.datname)
  FROM pg_catalog.pg_database d, pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
  WHERE d.datname = pg_catalog.current_database() AND a.grantee = 0 AND a.privilege_type = 'TEMPORARY'
  UNION ALL
  SELECT 'public-table', n.nspname, c.relname, NULL, pg_catalog.string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type),
         pg_catalog.format('REVOKE ALL ON %I.%I FROM PUBLIC;', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN here n ON n.oid = c.relnamespace, pg_catalog.aclexplode(c.relacl) a
  WHERE a.grantee = 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  GROUP BY n.nspname, c.relname
  UNION ALL
  SELECT 'public-definer', d.nspname, d.proname, NULL, d.owner,
         pg_catalog.format('REVOKE EXECUTE ON %s %s FROM PUBLIC;', d.word, d.signature)
  FROM definers d, pg_catalog.aclexplode(COALESCE(d.proacl, pg_catalog.acldefault('f', d.proowner))) a
  WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'
  UNION ALL
  SELECT 'unpinned-definer', d.nspname, d.proname, NULL, d.owner,
         pg_catalog.format('ALTER %s %s SET search_path = %I, pg_temp;', d.word, d.signature, d.nspname)
  FROM definers d
  WHERE NOT EXISTS (SELECT FROM pg_catalog.unnest(d.proconfig) s WHERE s LIKE 'search\_path=%')
  UNION ALL
  SELECT 'definer-trigger', tn.nspname, c.relname, t.tgname, d.owner,
         pg_catalog.format('ALTER %s %s SECURITY INVOKER;', d.word, d.signature)
  FROM pg_catalog.pg_trigger t JOIN definers d ON d.oid = t.tgfoid
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN here tn ON tn.oid = c.relnamespace
  WHERE NOT t.tgisinternal
  UNION ALL
  SELECT 'invoker-trigger', tn.nspname, c.relname, t.tgname, CURRENT_USER, pg_catalog.format('enforcement: role')
  FROM pg_catalog.pg_trigger t JOIN invokers d ON d.oid = t.tgfoid
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN here tn ON tn.oid = c.relnamespace
  WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
  UNION ALL
  SELECT DISTINCT 'invoker-code', tn.nspname, c.relname, d.nspname || '.' || d.proname, CURRENT_USER, 'enforcement: role'
  FROM (
    SELECT e.adrelid AS relation, 'pg_catalog.pg_attrdef'::regclass::oid AS class, e.oid FROM pg_catalog.pg_attrdef e
    UNION ALL SELECT k.conrelid, 'pg_catalog.pg_constraint'::regclass::oid, k.oid FROM pg_catalog.pg_constraint k WHERE k.conrelid <> 0
    UNION ALL SELECT a.attrelid, 'pg_catalog.pg_constraint'::regclass::oid, k.oid
      FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_attribute a ON a.atttypid = k.contypid AND k.contypid <> 0
    UNION ALL SELECT x.indrelid, 'pg_catalog.pg_class'::regclass::oid, x.indexrelid FROM pg_catalog.pg_index x) u
  JOIN pg_catalog.pg_depend p ON p.classid = u.class AND p.objid = u.oid AND p.refclassid = 'pg_catalog.pg_proc'::regclass
  JOIN invokers d ON d.oid = p.refobjid
  JOIN pg_catalog.pg_class c ON c.oid = u.relation JOIN here tn ON tn.oid = c.relnamespace
  UNION ALL
  SELECT 'superuser-view', n.nspname, c.relname, NULL, o.rolname,
         pg_catalog.format('ALTER VIEW %I.%I OWNER TO a role that owns the tables;', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN here n ON n.oid = c.relnamespace JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
  WHERE c.relkind = 'v' AND o.rolsuper
    AND NOT COALESCE('security_invoker=true' = ANY (c.reloptions) OR 'security_invoker=on' = ANY (c.reloptions), false)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e')
  UNION ALL
  SELECT 'reaching-extension', NULL, e.extname, NULL, NULL,
         pg_catalog.format('DROP EXTENSION %I;', e.extname)
  FROM pg_catalog.pg_extension e
  WHERE e.extname IN ('adminpack', 'dblink', 'file_fdw', 'lo', 'pageinspect', 'plperlu', 'plpython3u', 'pltclu', 'postgres_fdw')
  UNION ALL
  SELECT 'login-' || flag, NULL, r.rolname, NULL, NULL, pg_catalog.format('ALTER ROLE %I %s;', r.rolname, cure)
  FROM pg_catalog.pg_roles r,
       LATERAL (VALUES ('superuser', r.rolsuper, 'NOSUPERUSER'), ('bypasses-row-security', r.rolbypassrls, 'NOBYPASSRLS'),
                       ('replicates', r.rolreplication, 'NOREPLICATION')) f(flag, is_set, cure)
  WHERE r.rolname = CURRENT_USER AND f.is_set
  UNION ALL
  SELECT 'login-member', NULL, g.rolname, NULL, NULL, pg_catalog.format('REVOKE %I FROM %I;', g.rolname, CURRENT_USER)
  FROM pg_catalog.pg_roles g
  WHERE g.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files',
                      'pg_execute_server_program', 'pg_maintain', 'pg_create_subscription')
    AND pg_catalog.pg_has_role(CURRENT_USER, g.oid, 'MEMBER')
    AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)
  UNION ALL
  SELECT 'weak-passwords', NULL, s.name, NULL, s.setting, 'ALTER SYSTEM SET password_encryption = ''scram-sha-256'';'
  FROM pg_catalog.pg_settings s WHERE s.name = 'password_encryption' AND s.setting <> 'scram-sha-256'
  UNION ALL
  SELECT 'no-tls', NULL, s.name, NULL, s.setting, 'ALTER SYSTEM SET ssl = on;'
  FROM pg_catalog.pg_settings s WHERE s.name = 'ssl' AND s.setting = 'off'
)
SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(found) ORDER BY kind, schema, name, "on"), '[]')::text FROM found
