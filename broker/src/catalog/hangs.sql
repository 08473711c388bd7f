code AS MATERIALIZED (
  SELECT p.oid, fn.nspname, p.proname, p.prosecdef, p.prosrc, l.lanname OPERATOR(pg_catalog.=) ANY (ARRAY['sql', 'plpgsql']::pg_catalog.name[]) AS told,
    (SELECT o.setting FROM pg_catalog.unnest(p.proconfig) o(setting) WHERE pg_catalog.starts_with(o.setting, 'search_path=') LIMIT 1) AS path,
    (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
     WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.deptype OPERATOR(pg_catalog.=) 'e' LIMIT 1) AS extension
  FROM pg_catalog.pg_proc p JOIN n fn ON fn.oid OPERATOR(pg_catalog.=) p.pronamespace JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
  WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
),
hung(func, class, oid) AS (
  SELECT c.oid, d.classid, d.objid FROM code c JOIN pg_catalog.pg_depend d ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) c.oid
  WHERE c.extension IS NULL
  UNION
  SELECT h.func, x.class, x.oid FROM hung h CROSS JOIN LATERAL (
    SELECT d.classid AS class, d.objid AS oid FROM pg_catalog.pg_depend d
    WHERE h.class OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass, 'pg_catalog.pg_cast'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass]::pg_catalog.oid[])
      AND d.refclassid OPERATOR(pg_catalog.=) h.class AND d.refobjid OPERATOR(pg_catalog.=) h.oid
      AND (h.class OPERATOR(pg_catalog.<>) 'pg_catalog.pg_type'::pg_catalog.regclass OR d.classid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass]::pg_catalog.oid[]))
    UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, k.contypid FROM pg_catalog.pg_constraint k
    WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid OPERATOR(pg_catalog.=) h.oid AND k.contypid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid) x
),
running(func) AS (
  SELECT c.oid FROM code c WHERE c.extension IS NULL AND (c.prosecdef OR EXISTS (SELECT 1 FROM hung h WHERE h.func OPERATOR(pg_catalog.=) c.oid))
  UNION
  SELECT g.oid FROM running r JOIN code f ON f.oid OPERATOR(pg_catalog.=) r.func AND f.told
  CROSS JOIN LATERAL (
    SELECT DISTINCT pg_catalog.lower(w.part[1]) AS home, pg_catalog.lower(w.part[2]) AS name
    FROM pg_catalog.regexp_matches(f.prosrc, '(?:([[:alpha:]_][[:alnum:]_$]*)"?\s*\.\s*"?)?([[:alpha:]_][[:alnum:]_$]*)"?\s*\(', 'g') w(part)) w
  JOIN code g ON pg_catalog.lower(g.proname) OPERATOR(pg_catalog.=) w.name AND (w.home IS NULL OR w.home OPERATOR(pg_catalog.=) pg_catalog.lower(g.nspname))
  WHERE g.extension IS NULL
),
said AS MATERIALIZED (
  SELECT DISTINCT f.oid AS func, f.path, pg_catalog.lower(w.part[1]) AS home, pg_catalog.lower(w.part[2]) AS name
  FROM running r JOIN code f ON f.oid OPERATOR(pg_catalog.=) r.func AND f.told
  CROSS JOIN LATERAL pg_catalog.regexp_matches(f.prosrc, '(?:([[:alpha:]_][[:alnum:]_$]*)"?\s*\.\s*"?)?([[:alpha:]_][[:alnum:]_$]*)"?\s*\(', 'g') w(part)
),
rooted(func, class, oid) AS (
  SELECT h.func, h.class, h.oid FROM hung h
  UNION
  SELECT x.func, x.class, x.oid FROM (
    SELECT c.oid AS func, 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid AS class, c.oid FROM code c WHERE c.prosecdef AND c.extension IS NULL) x
  UNION
  SELECT g.oid, r.class, r.oid FROM rooted r JOIN said s ON s.func OPERATOR(pg_catalog.=) r.func
  JOIN code g ON pg_catalog.lower(g.proname) OPERATOR(pg_catalog.=) s.name AND (s.home IS NULL OR s.home OPERATOR(pg_catalog.=) pg_catalog.lower(g.nspname))
  WHERE g.extension IS NULL
),
places AS MATERIALIZED (
  SELECT h.class, h.oid, pg_catalog.row_number() OVER (ORDER BY h.class, h.oid) OPERATOR(pg_catalog.-) 1 AS at,
    pg_catalog.pg_describe_object(h.class, h.oid, 0) AS words, t.kind, tn.nspname, t.name
  FROM (SELECT DISTINCT class, oid FROM rooted) h
  LEFT JOIN LATERAL (
    SELECT 'trigger' AS kind, c.relnamespace AS home, c.relname AS name
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT 'policy', c.relnamespace, c.relname
    FROM pg_catalog.pg_policy t JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.polrelid WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass AND t.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT 'relation', c.relnamespace, c.relname
    FROM pg_catalog.pg_attrdef t JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.adrelid WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND t.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT 'relation', c.relnamespace, c.relname
    FROM pg_catalog.pg_constraint t JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.conrelid WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass AND t.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT 'relation', c.relnamespace, c.relname
    FROM pg_catalog.pg_rewrite t JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.ev_class WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND t.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT 'relation', c.relnamespace, c.relname
    FROM pg_catalog.pg_class c WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid OPERATOR(pg_catalog.=) COALESCE((SELECT i.indrelid FROM pg_catalog.pg_index i WHERE i.indexrelid OPERATOR(pg_catalog.=) h.oid), h.oid)
    UNION ALL SELECT 'domain', y.typnamespace, y.typname
    FROM pg_catalog.pg_constraint t JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) t.contypid WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass AND t.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT CASE y.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, y.typnamespace, y.typname
    FROM pg_catalog.pg_type y WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass AND y.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT CASE WHEN p.prosecdef THEN 'definer-function' ELSE 'function' END, p.pronamespace, p.proname
    FROM pg_catalog.pg_proc p WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT 'operator', o.oprnamespace, o.oprname
    FROM pg_catalog.pg_operator o WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid OPERATOR(pg_catalog.=) h.oid
    UNION ALL SELECT 'cast', y.typnamespace, y.typname
    FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) CASE WHEN k.casttarget OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid THEN k.casttarget ELSE k.castsource END
    WHERE h.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_cast'::pg_catalog.regclass AND k.oid OPERATOR(pg_catalog.=) h.oid) t ON true
  LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid OPERATOR(pg_catalog.=) t.home
),
hangs AS (
  SELECT pg_catalog.json_build_object(
    'places', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('words', p.words, 'kind', p.kind, 'schema', p.nspname, 'name', p.name) ORDER BY p.at)
      FROM places p), '[]'::pg_catalog.json),
    'held', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', g.nspname, 'name', g.proname, 'places', g.places) ORDER BY g.nspname, g.proname)
      FROM (
        SELECT c.nspname, c.proname, pg_catalog.jsonb_agg(DISTINCT p.at) AS places
        FROM hung h JOIN code c ON c.oid OPERATOR(pg_catalog.=) h.func JOIN places p ON p.class OPERATOR(pg_catalog.=) h.class AND p.oid OPERATOR(pg_catalog.=) h.oid
        GROUP BY c.nspname, c.proname) g), '[]'::pg_catalog.json),
    'said', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', g.home, 'name', g.name, 'within', g.within, 'places', g.places) ORDER BY g.name, g.home)
      FROM (
        SELECT x.home, s.name, pg_catalog.min(c.nspname OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) c.proname) AS within, pg_catalog.jsonb_agg(DISTINCT p.at) AS places
        FROM said s
        CROSS JOIN LATERAL (
          SELECT s.home WHERE s.home IS NOT NULL OR s.path IS NULL
          UNION ALL SELECT k.nspname::pg_catalog.text FROM n k
          WHERE s.home IS NULL AND pg_catalog.strpos(s.path, k.nspname::pg_catalog.text) OPERATOR(pg_catalog.<>) 0) x
        JOIN code c ON c.oid OPERATOR(pg_catalog.=) s.func JOIN rooted r ON r.func OPERATOR(pg_catalog.=) s.func JOIN places p ON p.class OPERATOR(pg_catalog.=) r.class AND p.oid OPERATOR(pg_catalog.=) r.oid
        GROUP BY x.home, s.name) g), '[]'::pg_catalog.json),
    'extensions', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_array(g.nspname, g.proname, g.extension) ORDER BY g.nspname, g.proname)
      FROM (SELECT DISTINCT c.nspname, c.proname, c.extension FROM code c WHERE c.extension IS NOT NULL) g), '[]'::pg_catalog.json)) AS document
),
