definer AS MATERIALIZED (
  SELECT f.oid, fn.nspname, f.proname FROM pg_catalog.pg_proc f
  JOIN pg_catalog.pg_namespace fn ON fn.oid OPERATOR(pg_catalog.=) f.pronamespace
  WHERE f.prosecdef
),
support AS MATERIALIZED (
  SELECT p.amprocfamily AS family, p.amproclefttype AS l, p.amprocrighttype AS r, d.oid AS func
  FROM definer d JOIN pg_catalog.pg_amproc p ON p.amproc::pg_catalog.oid OPERATOR(pg_catalog.=) d.oid
  UNION ALL
  SELECT p.amopfamily, p.amoplefttype, p.amoprighttype, d.oid
  FROM definer d JOIN pg_catalog.pg_operator o ON o.oprcode::pg_catalog.oid OPERATOR(pg_catalog.=) d.oid
  JOIN pg_catalog.pg_amop p ON p.amopopr OPERATOR(pg_catalog.=) o.oid
),
seed AS MATERIALIZED (
  SELECT t.type, k.castfunc AS func FROM definer d JOIN pg_catalog.pg_cast k ON k.castfunc OPERATOR(pg_catalog.=) d.oid
  CROSS JOIN LATERAL (VALUES (k.castsource, k.casttarget), (k.casttarget, k.castsource)) t(type, other)
  WHERE t.type OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid OR t.other OPERATOR(pg_catalog.<) 16384::pg_catalog.oid
  UNION SELECT t.type, s.func FROM support s
  JOIN pg_catalog.pg_opclass c ON c.opcfamily OPERATOR(pg_catalog.=) s.family
  CROSS JOIN LATERAL (VALUES (c.opcintype), (c.opckeytype), (s.l), (s.r)) t(type)
  WHERE t.type OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
    OR t.type OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND s.l OPERATOR(pg_catalog.<) 16384::pg_catalog.oid AND s.r OPERATOR(pg_catalog.<) 16384::pg_catalog.oid
  UNION SELECT g.rngtypid, s.func FROM support s
  JOIN pg_catalog.pg_opclass c ON c.opcfamily OPERATOR(pg_catalog.=) s.family
  JOIN pg_catalog.pg_range g ON g.rngsubopc OPERATOR(pg_catalog.=) c.oid
  UNION SELECT CASE x.classid WHEN 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid THEN x.objid ELSE k.contypid END, d.oid
  FROM definer d
  LEFT JOIN pg_catalog.pg_operator o ON o.oprcode::pg_catalog.oid OPERATOR(pg_catalog.=) d.oid
  CROSS JOIN LATERAL (VALUES ('pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, d.oid), ('pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid, o.oid)) u(class, oid)
  JOIN pg_catalog.pg_depend x ON x.refclassid OPERATOR(pg_catalog.=) u.class AND x.refobjid OPERATOR(pg_catalog.=) u.oid
    AND x.classid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass]::pg_catalog.oid[])
  LEFT JOIN pg_catalog.pg_constraint k ON x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid OPERATOR(pg_catalog.=) x.objid
  WHERE x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass OR k.contypid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
),
own AS MATERIALIZED (
  SELECT s.type, s.func FROM seed s
  UNION SELECT y.typelem, s.func FROM seed s JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) s.type
  WHERE y.typlen OPERATOR(pg_catalog.=) -1 AND y.typelem OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
),
reach(type, func) AS (
  SELECT type, func FROM own
  UNION
  SELECT h.type, r.func FROM reach r CROSS JOIN LATERAL (
    SELECT CASE x.classid
      WHEN 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid THEN x.objid
      WHEN 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid THEN (SELECT c.reltype FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) x.objid)
      ELSE (SELECT k.contypid FROM pg_catalog.pg_constraint k WHERE k.oid OPERATOR(pg_catalog.=) x.objid) END AS type
    FROM pg_catalog.pg_depend x
    WHERE x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass AND x.refobjid OPERATOR(pg_catalog.=) r.type
      AND (x.classid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass]::pg_catalog.oid[])
        OR x.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND x.objsubid OPERATOR(pg_catalog.>) 0)
    UNION ALL SELECT k.castsource FROM pg_catalog.pg_cast k
    WHERE k.castmethod OPERATOR(pg_catalog.=) 'b' AND k.casttarget OPERATOR(pg_catalog.=) r.type AND k.castsource OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid) h
  WHERE h.type OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
),
runs AS MATERIALIZED (
  SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid AS class, d.oid, d.oid AS func FROM definer d
  UNION SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid, o.oid, d.oid
  FROM definer d JOIN pg_catalog.pg_operator o ON o.oprcode::pg_catalog.oid OPERATOR(pg_catalog.=) d.oid
  UNION SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, r.type, r.func FROM reach r
  UNION SELECT x.classid, x.objid, r.func FROM reach r
  JOIN pg_catalog.pg_depend x ON x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass AND x.refobjid OPERATOR(pg_catalog.=) r.type
    AND x.classid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass]::pg_catalog.oid[])
),
valued AS MATERIALIZED (
  SELECT v.relation, pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_object('schema', d.nspname, 'name', d.proname, 'column', v.col)) AS document
  FROM (
    SELECT a.attrelid AS relation, a.attname AS col, r.func
    FROM reach r JOIN pg_catalog.pg_attribute a ON a.atttypid OPERATOR(pg_catalog.=) r.type
    WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
    UNION ALL
    SELECT x.indrelid, NULL, r.func
    FROM reach r JOIN pg_catalog.pg_attribute a ON a.atttypid OPERATOR(pg_catalog.=) r.type
    JOIN pg_catalog.pg_index x ON x.indexrelid OPERATOR(pg_catalog.=) a.attrelid
    UNION ALL
    SELECT c.oid, NULL, o.func
    FROM own o JOIN pg_catalog.pg_class c ON c.reltype OPERATOR(pg_catalog.=) o.type) v
  JOIN definer d ON d.oid OPERATOR(pg_catalog.=) v.func
  GROUP BY v.relation
),
carriers AS (
  SELECT pg_catalog.json_build_object(
    'everywhere', COALESCE((
      SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_object('schema', d.nspname, 'name', d.proname))
      FROM reach r JOIN definer d ON d.oid OPERATOR(pg_catalog.=) r.func WHERE r.type OPERATOR(pg_catalog.<) 16384::pg_catalog.oid), '[]'::pg_catalog.jsonb),
    'types', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', t.oid::pg_catalog.int8, 'schema', t.nspname, 'name', t.typname, 'calls', t.calls) ORDER BY t.oid)
      FROM (
        SELECT y.oid, yn.nspname, y.typname, pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_object('schema', d.nspname, 'name', d.proname)) AS calls
        FROM reach r JOIN definer d ON d.oid OPERATOR(pg_catalog.=) r.func
        JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) r.type JOIN pg_catalog.pg_namespace yn ON yn.oid OPERATOR(pg_catalog.=) y.typnamespace
        WHERE y.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
        GROUP BY y.oid, yn.nspname, y.typname) t), '[]'::pg_catalog.json),
    'functions', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', t.nspname, 'name', t.name, 'calls', t.calls) ORDER BY t.nspname, t.name)
      FROM (
        SELECT fn.nspname, COALESCE(f.proname, o.oprname) AS name, pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_object('schema', d.nspname, 'name', d.proname)) AS calls
        FROM runs r JOIN definer d ON d.oid OPERATOR(pg_catalog.=) r.func
        LEFT JOIN pg_catalog.pg_proc f ON r.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND f.oid OPERATOR(pg_catalog.=) r.oid
        LEFT JOIN pg_catalog.pg_operator o ON r.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid OPERATOR(pg_catalog.=) r.oid
        JOIN pg_catalog.pg_namespace fn ON fn.oid OPERATOR(pg_catalog.=) COALESCE(f.pronamespace, o.oprnamespace)
        WHERE r.oid OPERATOR(pg_catalog.<>) r.func AND (o.oid IS NULL OR o.oprcode::pg_catalog.oid OPERATOR(pg_catalog.<>) r.func)
        GROUP BY fn.nspname, COALESCE(f.proname, o.oprname)) t), '[]'::pg_catalog.json)) AS document
),
