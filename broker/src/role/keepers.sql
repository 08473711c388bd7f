WITH k AS (SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r
  WHERE pg_catalog.starts_with(r.rolname::pg_catalog.text, $1) AND pg_catalog.pg_has_role(CURRENT_USER, r.oid, 'USAGE')),
needed AS (SELECT v.relowner AS keeper, d.refobjid AS relation FROM pg_catalog.pg_class v
  JOIN k ON k.oid OPERATOR(pg_catalog.=) v.relowner
  JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) v.oid
  JOIN pg_catalog.pg_depend d ON d.objid OPERATOR(pg_catalog.=) w.oid AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.<>) v.oid)
SELECT k.rolname::pg_catalog.text,
  NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class v WHERE v.relowner OPERATOR(pg_catalog.=) k.oid AND v.relkind OPERATOR(pg_catalog.=) 'v')
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles l ON l.oid OPERATOR(pg_catalog.=) m.member
    WHERE m.roleid OPERATOR(pg_catalog.=) k.oid AND l.rolname OPERATOR(pg_catalog.~~) 'hoop\_l\_%'),
  ARRAY(SELECT c.oid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
    WHERE a.grantee OPERATOR(pg_catalog.=) k.oid AND c.relowner OPERATOR(pg_catalog.<>) k.oid
      AND pg_catalog.pg_has_role(CURRENT_USER, c.relowner, 'USAGE')
      AND NOT EXISTS (SELECT 1 FROM needed WHERE needed.keeper OPERATOR(pg_catalog.=) k.oid AND needed.relation OPERATOR(pg_catalog.=) c.oid)),
  ARRAY(SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
    WHERE a.grantee OPERATOR(pg_catalog.=) k.oid AND n.nspname OPERATOR(pg_catalog.<>) 'hoop_masks' AND a.privilege_type OPERATOR(pg_catalog.=) 'USAGE'
      AND pg_catalog.pg_has_role(CURRENT_USER, n.nspowner, 'USAGE')
      AND NOT EXISTS (SELECT 1 FROM needed JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) needed.relation
        WHERE needed.keeper OPERATOR(pg_catalog.=) k.oid AND c.relnamespace OPERATOR(pg_catalog.=) n.oid))
FROM k
