plain_types AS MATERIALIZED (
  SELECT t.oid FROM pg_catalog.pg_type y CROSS JOIN LATERAL (VALUES (y.oid), (y.typarray)) t(oid)
  WHERE y.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace AND t.oid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
    AND y.typname OPERATOR(pg_catalog.=) ANY (ARRAY['bool', 'bpchar', 'bytea', 'char', 'cid', 'date', 'float4', 'float8', 'int2', 'int4', 'int8',
      'interval', 'json', 'jsonb', 'name', 'numeric', 'oid', 'regclass', 'regproc', 'regtype', 'text', 'tid', 'time', 'timestamp', 'timestamptz', 'timetz',
      'uuid', 'varbit', 'bit', 'varchar', 'xid', 'xml']::pg_catalog.name[])
),
dull_types AS MATERIALIZED (
  SELECT oid FROM plain_types UNION SELECT y.oid FROM pg_catalog.pg_type y WHERE y.typtype OPERATOR(pg_catalog.=) 'p'
),
foreign_code AS MATERIALIZED (
  SELECT p.oid, p.proname AS name, n.nspname, p.proargtypes::pg_catalog.oid[] AS args, 'f' AS kind,
    p.pronargdefaults OPERATOR(pg_catalog.=) 0 AND p.provariadic OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND p.pronargs OPERATOR(pg_catalog.>) 0 AND EXISTS (
      SELECT 1 FROM pg_catalog.pg_proc s
      WHERE s.proname OPERATOR(pg_catalog.=) p.proname AND s.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
        AND (s.provariadic OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
          OR p.pronargs OPERATOR(pg_catalog.<=) s.pronargs AND p.pronargs OPERATOR(pg_catalog.>=) (s.pronargs OPERATOR(pg_catalog.-) s.pronargdefaults))) AS beside,
    NOT p.prosecdef AND EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid
        AND d.deptype OPERATOR(pg_catalog.=) 'e') AS extension
  FROM pg_catalog.pg_proc p JOIN n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
  WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND EXISTS (
    SELECT 1 FROM pg_catalog.pg_proc s
    WHERE s.proname OPERATOR(pg_catalog.=) p.proname AND s.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace)
  UNION ALL
  SELECT o.oid, o.oprname, n.nspname, pg_catalog.array_remove(ARRAY[o.oprleft, o.oprright], 0::pg_catalog.oid), 'o',
    EXISTS (
      SELECT 1 FROM pg_catalog.pg_operator s
      WHERE s.oprname OPERATOR(pg_catalog.=) o.oprname AND s.oprnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
        AND s.oprkind OPERATOR(pg_catalog.=) o.oprkind),
    EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) o.oid
        AND d.deptype OPERATOR(pg_catalog.=) 'e')
  FROM pg_catalog.pg_operator o JOIN n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
  WHERE o.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
),
wanted AS MATERIALIZED (
  SELECT f.kind, f.name, f.nspname, f.extension, f.beside AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.unnest(f.args) WITH ORDINALITY a(type, at)
    JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) a.type
    WHERE y.typtype OPERATOR(pg_catalog.=) ANY (ARRAY['d', 'p']::pg_catalog."char"[])
      OR EXISTS (
        SELECT 1 FROM pg_catalog.pg_type e WHERE e.oid OPERATOR(pg_catalog.=) y.typelem AND e.typtype OPERATOR(pg_catalog.=) 'd')
      OR EXISTS (
        SELECT 1 FROM pg_catalog.pg_cast k
        WHERE k.casttarget OPERATOR(pg_catalog.=) ANY (ARRAY[y.oid, y.typelem]) AND k.castcontext OPERATOR(pg_catalog.=) 'i'
          AND k.castsource IN (SELECT oid FROM plain_types) AND y.oid NOT IN (SELECT oid FROM plain_types))
      OR y.oid IN (SELECT oid FROM plain_types) AND (
        f.kind OPERATOR(pg_catalog.<>) 'o' OR pg_catalog.cardinality(f.args) OPERATOR(pg_catalog.<>) 2
        OR EXISTS (
          SELECT 1 FROM pg_catalog.unnest(f.args) WITH ORDINALITY b(type, at) JOIN pg_catalog.pg_type z ON z.oid OPERATOR(pg_catalog.=) b.type
          WHERE b.at OPERATOR(pg_catalog.<>) a.at AND (z.oid IN (SELECT oid FROM plain_types) OR z.typcategory OPERATOR(pg_catalog.=) 'S'))
        OR EXISTS (
          SELECT 1 FROM (
            SELECT y.oid AS of UNION SELECT k.castsource FROM pg_catalog.pg_cast k
            WHERE k.casttarget OPERATOR(pg_catalog.=) y.oid AND k.castcontext OPERATOR(pg_catalog.=) 'i' AND k.castsource IN (SELECT oid FROM plain_types)) c
          JOIN pg_catalog.pg_type z ON z.oid OPERATOR(pg_catalog.=) c.of
          WHERE NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_operator s
            WHERE s.oprname OPERATOR(pg_catalog.=) f.name AND s.oprnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
              AND s.oprleft OPERATOR(pg_catalog.=) s.oprright
              AND s.oprleft OPERATOR(pg_catalog.=) CASE z.typcategory WHEN 'S' THEN 'pg_catalog.text'::pg_catalog.regtype::pg_catalog.oid ELSE z.oid END)))) AS shy
  FROM foreign_code f
),
overloads AS (
  SELECT pg_catalog.json_build_object(
    'plain', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', w.nspname, 'name', w.name) ORDER BY w.name, w.nspname)
      FROM (SELECT name, nspname FROM wanted WHERE kind OPERATOR(pg_catalog.=) 'f' GROUP BY name, nspname HAVING pg_catalog.bool_and(extension)) w), '[]'::pg_catalog.json),
    'shy', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', w.nspname, 'name', w.name) ORDER BY w.kind, w.name, w.nspname)
      FROM (
        SELECT kind, name, nspname FROM wanted GROUP BY kind, name, nspname
        HAVING pg_catalog.bool_and(extension OR shy) AND NOT pg_catalog.bool_and(extension)) w), '[]'::pg_catalog.json),
    'types', CASE WHEN EXISTS (SELECT 1 FROM wanted WHERE shy AND NOT extension) THEN (
      SELECT pg_catalog.json_agg(pg_catalog.json_build_array(y.oid::pg_catalog.int8, y.typname) ORDER BY y.oid)
      FROM pg_catalog.pg_type y JOIN plain_types t ON t.oid OPERATOR(pg_catalog.=) y.oid) ELSE '[]'::pg_catalog.json END,
    'givers', CASE WHEN EXISTS (SELECT 1 FROM wanted WHERE shy AND NOT extension) THEN (
      SELECT pg_catalog.json_agg(g.proname ORDER BY g.proname)
      FROM (
        SELECT p.proname
        FROM pg_catalog.pg_proc p CROSS JOIN LATERAL (
          SELECT EXISTS (
            SELECT 1 FROM pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) a(type) WHERE a.type NOT IN (SELECT oid FROM dull_types)) AS takes,
          EXISTS (
            SELECT 1 FROM pg_catalog.unnest(COALESCE(p.proallargtypes, '{}'::pg_catalog.oid[]) OPERATOR(pg_catalog.||) p.prorettype) a(type)
            WHERE a.type NOT IN (SELECT oid FROM dull_types)) AS gives) o
        WHERE p.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
        GROUP BY p.proname HAVING pg_catalog.bool_or(o.gives AND NOT o.takes) OR pg_catalog.bool_and(o.gives)) g) ELSE '[]'::pg_catalog.json END) AS document
),
odd AS MATERIALIZED (
  SELECT a.attrelid, pg_catalog.json_agg(a.attname) AS columns
  FROM pg_catalog.pg_attribute a
  WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND EXISTS (SELECT 1 FROM wanted WHERE shy AND NOT extension)
    AND a.atttypid NOT IN (SELECT oid FROM plain_types)
  GROUP BY a.attrelid
),
