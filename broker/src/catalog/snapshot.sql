SELECT pg_catalog.json_build_object(
  'server_version', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
  'user', CURRENT_USER,
  'database', pg_catalog.current_database(),
  'search_path', pg_catalog.array_to_json(pg_catalog.current_schemas(true)),
  'home', (SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE s.name OPERATOR(pg_catalog.=) 'search_path'),
  'relations', COALESCE((
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'oid', c.oid::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
      'columns', COALESCE((
        SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped), '[]'::pg_catalog.json),
      'owner', (
        SELECT pg_catalog.json_build_array(pn.nspname, pc.relname)
        FROM pg_catalog.pg_class pc JOIN pg_catalog.pg_namespace pn ON pn.oid OPERATOR(pg_catalog.=) pc.relnamespace
        WHERE pc.oid OPERATOR(pg_catalog.=) COALESCE(
          (SELECT i.indrelid FROM pg_catalog.pg_index i WHERE i.indexrelid OPERATOR(pg_catalog.=) c.oid),
          (SELECT d.refobjid FROM pg_catalog.pg_depend d
           WHERE d.objid OPERATOR(pg_catalog.=) c.oid AND c.relkind OPERATOR(pg_catalog.=) 'S'
             AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
             AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
             AND d.deptype OPERATOR(pg_catalog.=) ANY (ARRAY['a', 'i']::pg_catalog."char"[]) LIMIT 1))),
      'parents', COALESCE((
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(pn.nspname, pc.relname) ORDER BY h.inhseqno)
        FROM pg_catalog.pg_inherits h
        JOIN pg_catalog.pg_class pc ON pc.oid OPERATOR(pg_catalog.=) h.inhparent
        JOIN pg_catalog.pg_namespace pn ON pn.oid OPERATOR(pg_catalog.=) pc.relnamespace
        WHERE h.inhrelid OPERATOR(pg_catalog.=) c.oid AND c.relkind OPERATOR(pg_catalog.<>) ALL (ARRAY['i', 'I']::pg_catalog."char"[])), '[]'::pg_catalog.json),
      'key', CASE WHEN c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['i', 'I']::pg_catalog."char"[]) THEN COALESCE((
        SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum)
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.>) 0
        WHERE i.indexrelid OPERATOR(pg_catalog.=) c.oid AND (a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[]) OR EXISTS (
          SELECT 1 FROM pg_catalog.pg_depend d
          WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) c.oid
            AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refobjid OPERATOR(pg_catalog.=) i.indrelid AND d.refobjsubid OPERATOR(pg_catalog.=) a.attnum))), '[]'::pg_catalog.json)
      ELSE COALESCE((
        SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum)
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[])
        WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisprimary), '[]'::pg_catalog.json) END,
      'facts', CASE WHEN c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f']::pg_catalog."char"[]) THEN (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum,
          CASE WHEN b.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace THEN pg_catalog.format_type(b.oid, r.typmod)
            WHEN e.oid IS NOT NULL THEN pg_catalog.quote_ident(en.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(e.typname) OPERATOR(pg_catalog.||) '[]'
            ELSE pg_catalog.quote_ident(bn.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(b.typname) END,
          CASE WHEN b.typtype OPERATOR(pg_catalog.=) 'e' THEN (SELECT pg_catalog.json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l WHERE l.enumtypid OPERATOR(pg_catalog.=) b.oid) END,
          a.attgenerated OPERATOR(pg_catalog.<>) '', a.atthasmissing) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
        CROSS JOIN LATERAL (
          SELECT CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN (
              WITH RECURSIVE d AS (SELECT t.typbasetype AS oid UNION ALL SELECT y.typbasetype FROM d JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) d.oid WHERE y.typtype OPERATOR(pg_catalog.=) 'd')
              SELECT d.oid FROM d JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) d.oid WHERE y.typtype OPERATOR(pg_catalog.<>) 'd') ELSE t.oid END AS oid,
            CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN (
              WITH RECURSIVE d AS (SELECT t.typbasetype AS oid, t.typtypmod AS typmod UNION ALL SELECT y.typbasetype, y.typtypmod FROM d JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) d.oid WHERE y.typtype OPERATOR(pg_catalog.=) 'd')
              SELECT d.typmod FROM d JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) d.oid WHERE y.typtype OPERATOR(pg_catalog.<>) 'd') ELSE a.atttypmod END AS typmod) r
        JOIN pg_catalog.pg_type b ON b.oid OPERATOR(pg_catalog.=) r.oid JOIN pg_catalog.pg_namespace bn ON bn.oid OPERATOR(pg_catalog.=) b.typnamespace
        LEFT JOIN pg_catalog.pg_type e ON e.oid OPERATOR(pg_catalog.=) b.typelem AND b.typlen OPERATOR(pg_catalog.=) -1 LEFT JOIN pg_catalog.pg_namespace en ON en.oid OPERATOR(pg_catalog.=) e.typnamespace
        WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped) END,
      'derived', CASE WHEN c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'f']::pg_catalog."char"[]) THEN (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(g.attname, s.attname) ORDER BY g.attnum, s.attnum)
        FROM pg_catalog.pg_attribute g
        JOIN pg_catalog.pg_attrdef f ON f.adrelid OPERATOR(pg_catalog.=) g.attrelid AND f.adnum OPERATOR(pg_catalog.=) g.attnum
        JOIN pg_catalog.pg_depend d ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
          AND d.refobjid OPERATOR(pg_catalog.=) g.attrelid AND (
            (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) f.oid)
            OR (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) g.attrelid
              AND d.objsubid OPERATOR(pg_catalog.=) g.attnum))
        JOIN pg_catalog.pg_attribute s ON s.attrelid OPERATOR(pg_catalog.=) d.refobjid AND s.attnum OPERATOR(pg_catalog.=) d.refobjsubid
        WHERE g.attrelid OPERATOR(pg_catalog.=) c.oid AND g.attgenerated OPERATOR(pg_catalog.<>) '' AND s.attnum OPERATOR(pg_catalog.<>) g.attnum) END,
      'attached', x.document
    ) ORDER BY c.oid)
    FROM pg_catalog.pg_class c JOIN n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    LEFT JOIN attached x ON x.oid OPERATOR(pg_catalog.=) c.oid), '[]'::pg_catalog.json),
  'functions', COALESCE((
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(f.proname, f.nspname) ORDER BY f.proname, f.nspname)
    FROM (SELECT DISTINCT p.proname, n.nspname FROM pg_catalog.pg_proc p JOIN n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace) f), '[]'::pg_catalog.json),
  'types', COALESCE((
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(t.typname, n.nspname) ORDER BY t.typname, n.nspname)
    FROM pg_catalog.pg_type t JOIN n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
    WHERE NOT (t.typelem OPERATOR(pg_catalog.<>) 0 AND t.typlen OPERATOR(pg_catalog.=) -1)), '[]'::pg_catalog.json),
  'operators', COALESCE((
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(o.oprname, o.nspname) ORDER BY o.oprname, o.nspname)
    FROM (SELECT DISTINCT p.oprname, n.nspname FROM pg_catalog.pg_operator p JOIN n ON n.oid OPERATOR(pg_catalog.=) p.oprnamespace
          WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid OPERATOR(pg_catalog.=) p.oid
            AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.deptype OPERATOR(pg_catalog.=) 'e')) o), '[]'::pg_catalog.json),
  'carriers', (SELECT document FROM carriers),
  'overloads', (SELECT document FROM overloads),
  'hangs', (SELECT document FROM hangs)
)::pg_catalog.text
