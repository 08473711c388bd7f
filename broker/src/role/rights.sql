WITH g AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name),
n AS (SELECT oid, nspname, nspowner, nspacl FROM pg_catalog.pg_namespace
  WHERE nspname OPERATOR(pg_catalog.<>) 'information_schema' AND nspname OPERATOR(pg_catalog.!~~) 'pg\_%'),
rel AS (SELECT c.oid, n.nspname, c.relname, c.relkind, c.relowner, c.relacl FROM pg_catalog.pg_class c
  JOIN n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r','p','v','m','f','S']::pg_catalog."char"[])),
fn AS (SELECT n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid) AS args, p.proowner,
    COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl
  FROM pg_catalog.pg_proc p JOIN n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace),
held AS (
  SELECT 'n' AS kind, n.nspname AS schema, NULL::pg_catalog.text AS name, NULL::pg_catalog.text AS part, a.privilege_type, a.grantee
  FROM n, pg_catalog.aclexplode(n.nspacl) a
  UNION ALL SELECT CASE WHEN rel.relkind OPERATOR(pg_catalog.=) 'S' THEN 's' ELSE 't' END, rel.nspname, rel.relname, NULL, a.privilege_type, a.grantee
  FROM rel, pg_catalog.aclexplode(rel.relacl) a
  UNION ALL SELECT 'c', rel.nspname, rel.relname, t.attname, a.privilege_type, a.grantee
  FROM rel JOIN pg_catalog.pg_attribute t ON t.attrelid OPERATOR(pg_catalog.=) rel.oid, pg_catalog.aclexplode(t.attacl) a
  WHERE t.attacl IS NOT NULL AND NOT t.attisdropped
  UNION ALL SELECT 'f', fn.nspname, fn.proname, fn.args, a.privilege_type, a.grantee
  FROM fn, pg_catalog.aclexplode(fn.acl) a)
SELECT pg_catalog.json_build_object(
  'schemas', (SELECT COALESCE(pg_catalog.json_agg(n.nspname), '[]'::pg_catalog.json) FROM n),
  'routines', (SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(fn.nspname, fn.proname, fn.args)), '[]'::pg_catalog.json) FROM fn),
  'held', (SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(kind, schema, name, part, privilege_type)), '[]'::pg_catalog.json)
    FROM held WHERE grantee OPERATOR(pg_catalog.=) (SELECT oid FROM g)),
  'public', (SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(kind, schema, name, part, privilege_type)), '[]'::pg_catalog.json)
    FROM held WHERE grantee OPERATOR(pg_catalog.=) 0),
  'foreign', (SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(o.kind, o.schema, o.name, o.part, r.rolname)), '[]'::pg_catalog.json)
    FROM (SELECT 'n' AS kind, n.nspname AS schema, NULL::pg_catalog.text AS name, NULL::pg_catalog.text AS part, n.nspowner AS owner FROM n
      UNION ALL SELECT 't', rel.nspname, rel.relname, NULL, rel.relowner FROM rel
      UNION ALL SELECT 'f', fn.nspname, fn.proname, fn.args, fn.proowner FROM fn) o
    JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) o.owner
    WHERE NOT pg_catalog.pg_has_role(CURRENT_USER, o.owner, 'USAGE'))
)::pg_catalog.text
