attached AS (
  SELECT c.oid, pg_catalog.json_build_object(
    'reads', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', r.nspname, 'name', r.relname, 'columns', CASE WHEN r.whole THEN NULL ELSE r.columns END) ORDER BY r.nspname, r.relname)
      FROM (
        SELECT bn.nspname, b.relname, pg_catalog.bool_or(q.whole) AS whole,
          COALESCE(pg_catalog.jsonb_agg(DISTINCT a.attname) FILTER (WHERE a.attname IS NOT NULL), '[]'::pg_catalog.jsonb) AS columns
        FROM (
          SELECT w.oid, w.ev_action::pg_catalog.text OPERATOR(pg_catalog.~~) '%:varattno 0 %' AS whole FROM pg_catalog.pg_rewrite w
          WHERE w.ev_class OPERATOR(pg_catalog.=) c.oid AND w.ev_type OPERATOR(pg_catalog.=) '1') q
        JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) q.oid
          AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.<>) c.oid
        JOIN pg_catalog.pg_class b ON b.oid OPERATOR(pg_catalog.=) d.refobjid
        JOIN pg_catalog.pg_namespace bn ON bn.oid OPERATOR(pg_catalog.=) b.relnamespace
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid
          AND d.refobjsubid OPERATOR(pg_catalog.<>) 0
        GROUP BY bn.nspname, b.relname) r), '[]'::pg_catalog.json),
    'leaks', c.relkind OPERATOR(pg_catalog.=) 'v'
      AND NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_options_to_table(c.reloptions) o
        WHERE o.option_name OPERATOR(pg_catalog.=) 'security_barrier' AND o.option_value::pg_catalog.bool)
      AND EXISTS (
        SELECT 1 FROM pg_catalog.pg_rewrite w WHERE w.ev_class OPERATOR(pg_catalog.=) c.oid AND w.ev_type OPERATOR(pg_catalog.=) '1'
          AND w.ev_action::pg_catalog.text OPERATOR(pg_catalog.~) ':(quals|havingQual|setOperations|limitCount|limitOffset) \{|:distinctClause \('),
    'rules', COALESCE((
      SELECT pg_catalog.json_agg(DISTINCT CASE w.ev_type WHEN '2' THEN 'update' WHEN '3' THEN 'insert' ELSE 'delete' END)
      FROM pg_catalog.pg_rewrite w
      WHERE w.ev_class OPERATOR(pg_catalog.=) c.oid AND w.ev_type OPERATOR(pg_catalog.<>) '1' AND w.ev_enabled OPERATOR(pg_catalog.<>) 'D'), '[]'::pg_catalog.json),
    'unproven', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_array(k.conname, COALESCE((
        SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.=) ANY (k.conkey)), '[]'::pg_catalog.json)) ORDER BY k.conname)
      FROM pg_catalog.pg_constraint k
      WHERE k.conrelid OPERATOR(pg_catalog.=) c.oid AND NOT k.convalidated), '[]'::pg_catalog.json),
    'prepares', EXISTS (
      SELECT 1 FROM pg_catalog.pg_trigger t
      WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid AND t.tgtype OPERATOR(pg_catalog.&) 7::pg_catalog.int2 OPERATOR(pg_catalog.=) 7
        AND t.tgenabled OPERATOR(pg_catalog.<>) 'D'),
    'triggers', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', fn.nspname, 'name', f.proname,
        'events', pg_catalog.array_remove(ARRAY[
          CASE WHEN t.tgtype OPERATOR(pg_catalog.&) 4::pg_catalog.int2 OPERATOR(pg_catalog.<>) 0 THEN 'insert' END,
          CASE WHEN t.tgtype OPERATOR(pg_catalog.&) 8::pg_catalog.int2 OPERATOR(pg_catalog.<>) 0 THEN 'delete' END,
          CASE WHEN t.tgtype OPERATOR(pg_catalog.&) 16::pg_catalog.int2 OPERATOR(pg_catalog.<>) 0 THEN 'update' END,
          CASE WHEN t.tgtype OPERATOR(pg_catalog.&) 32::pg_catalog.int2 OPERATOR(pg_catalog.<>) 0 THEN 'truncate' END], NULL),
        'columns', COALESCE((
          SELECT CASE
            WHEN pg_catalog.bool_or(a.attgenerated OPERATOR(pg_catalog.<>) '') AND (
              pg_catalog.bool_or(a.attgenerated OPERATOR(pg_catalog.<>) '' AND s.base IS NULL) OR EXISTS (
                SELECT 1 FROM pg_catalog.pg_trigger b
                WHERE b.tgrelid OPERATOR(pg_catalog.=) c.oid AND b.tgtype OPERATOR(pg_catalog.&) 19::pg_catalog.int2 OPERATOR(pg_catalog.=) 19)) THEN NULL
            ELSE pg_catalog.jsonb_agg(DISTINCT COALESCE(s.base, a.attname)) END
          FROM pg_catalog.pg_attribute a
          LEFT JOIN pg_catalog.pg_attrdef e ON a.attgenerated OPERATOR(pg_catalog.<>) '' AND e.adrelid OPERATOR(pg_catalog.=) c.oid AND e.adnum OPERATOR(pg_catalog.=) a.attnum
          LEFT JOIN LATERAL (
            SELECT o.attname AS base FROM pg_catalog.pg_depend d
            JOIN pg_catalog.pg_attribute o ON o.attrelid OPERATOR(pg_catalog.=) c.oid AND o.attnum OPERATOR(pg_catalog.=) d.refobjsubid
            WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) e.oid
              AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) c.oid
              AND d.refobjsubid OPERATOR(pg_catalog.<>) a.attnum) s ON true
          WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.=) ANY (t.tgattr::pg_catalog.int2[])), '[]'::pg_catalog.jsonb),
        'when', (
          SELECT pg_catalog.json_build_object('column', a.attname, 'text', pg_catalog.replace(m.parts[2], '''''', ''''), 'has_default', a.atthasdef)
          FROM (
            SELECT pg_catalog.regexp_match(pg_catalog.pg_get_triggerdef(t.oid),
              ' WHEN \(\(new\.([a-z_][a-z0-9_]*) = ''((?:[^''\\]|'''')*)''::text\)\) EXECUTE ') AS parts) m
          JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attname OPERATOR(pg_catalog.=) m.parts[1]
          WHERE NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_trigger o WHERE o.tgrelid OPERATOR(pg_catalog.=) c.oid AND o.oid OPERATOR(pg_catalog.<>) t.oid
              AND NOT o.tgisinternal AND o.tgtype OPERATOR(pg_catalog.&) 3::pg_catalog.int2 OPERATOR(pg_catalog.=) 3))) ORDER BY t.tgname)
      FROM pg_catalog.pg_trigger t
      JOIN pg_catalog.pg_proc f ON f.oid OPERATOR(pg_catalog.=) t.tgfoid
      JOIN pg_catalog.pg_namespace fn ON fn.oid OPERATOR(pg_catalog.=) f.pronamespace
      WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid AND NOT t.tgisinternal AND t.tgenabled OPERATOR(pg_catalog.<>) 'D' AND f.prosecdef), '[]'::pg_catalog.json),
    'calls', COALESCE((
      SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_object('schema', f.nspname, 'name', f.proname, 'column', u.col))::pg_catalog.json
      FROM (
        SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid AS class, e.oid, CASE a.attgenerated WHEN '' THEN a.attname END AS col
        FROM pg_catalog.pg_attrdef e
        JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) e.adrelid AND a.attnum OPERATOR(pg_catalog.=) e.adnum
        WHERE e.adrelid OPERATOR(pg_catalog.=) c.oid
        UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, k.oid, NULL
        FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) c.oid
        UNION ALL SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid, w.oid, NULL
        FROM pg_catalog.pg_rewrite w WHERE w.ev_class OPERATOR(pg_catalog.=) c.oid
        UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, x.indexrelid, NULL
        FROM pg_catalog.pg_index x WHERE x.indrelid OPERATOR(pg_catalog.=) c.oid
        UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, k.partrelid, NULL
        FROM pg_catalog.pg_partitioned_table k
        WHERE k.partexprs IS NOT NULL AND (k.partrelid OPERATOR(pg_catalog.=) c.oid OR c.relispartition AND k.partrelid OPERATOR(pg_catalog.=) ANY (
          ARRAY(SELECT p.relid FROM pg_catalog.pg_partition_ancestors(c.oid) p)))) u
      JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) u.class AND d.objid OPERATOR(pg_catalog.=) u.oid
        AND (u.class OPERATOR(pg_catalog.<>) 'pg_catalog.pg_class'::pg_catalog.regclass OR d.objsubid OPERATOR(pg_catalog.=) 0)
      JOIN runs r ON r.class OPERATOR(pg_catalog.=) d.refclassid AND r.oid OPERATOR(pg_catalog.=) d.refobjid
      JOIN definer f ON f.oid OPERATOR(pg_catalog.=) r.func), '[]'::pg_catalog.json),
    'values', COALESCE(v.document, '[]'::pg_catalog.jsonb),
    'odd', COALESCE(odd.columns, '[]'::pg_catalog.json),
    'keys', COALESCE((
      SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum)
      FROM pg_catalog.pg_partitioned_table k JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) k.partrelid
      WHERE k.partrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
        AND (k.partexprs IS NOT NULL OR a.attnum OPERATOR(pg_catalog.=) ANY (k.partattrs::pg_catalog.int2[]))), '[]'::pg_catalog.json),
    'references', COALESCE((
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', pn.nspname, 'name', pc.relname,
        'columns', COALESCE((
          SELECT pg_catalog.json_agg(a.attname) FROM pg_catalog.pg_attribute a
          WHERE a.attrelid OPERATOR(pg_catalog.=) k.confrelid AND a.attnum OPERATOR(pg_catalog.=) ANY (k.confkey)), '[]'::pg_catalog.json),
        'cascades', k.confdeltype OPERATOR(pg_catalog.<>) ALL (ARRAY['a', 'r']::pg_catalog."char"[])
          OR k.confupdtype OPERATOR(pg_catalog.<>) ALL (ARRAY['a', 'r']::pg_catalog."char"[])) ORDER BY k.oid)
      FROM pg_catalog.pg_constraint k
      JOIN pg_catalog.pg_class pc ON pc.oid OPERATOR(pg_catalog.=) k.confrelid
      JOIN pg_catalog.pg_namespace pn ON pn.oid OPERATOR(pg_catalog.=) pc.relnamespace
      WHERE k.conrelid OPERATOR(pg_catalog.=) c.oid AND k.contype OPERATOR(pg_catalog.=) 'f'), '[]'::pg_catalog.json),
    'entangled', COALESCE((
      SELECT pg_catalog.json_agg(DISTINCT a.attname::pg_catalog.text)
      FROM pg_catalog.pg_depend d
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid
        AND d.refobjsubid OPERATOR(pg_catalog.<>) 0 AND d.refobjid OPERATOR(pg_catalog.=) c.oid
      WHERE d.deptype OPERATOR(pg_catalog.=) 'n'
        AND (d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) c.oid
          OR d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) ANY (ARRAY[
            c.reltype, (SELECT y.typarray FROM pg_catalog.pg_type y WHERE y.oid OPERATOR(pg_catalog.=) c.reltype)]))
        AND d.classid OPERATOR(pg_catalog.<>) ALL (ARRAY['pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass,
          'pg_catalog.pg_trigger'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass]::pg_catalog.oid[])
        AND NOT (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND EXISTS (
          SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhrelid OPERATOR(pg_catalog.=) d.objid AND h.inhparent OPERATOR(pg_catalog.=) c.oid))
        AND NOT (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass AND EXISTS (
          SELECT 1 FROM pg_catalog.pg_policy y WHERE y.oid OPERATOR(pg_catalog.=) d.objid AND y.polrelid OPERATOR(pg_catalog.=) c.oid))
        AND NOT (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND EXISTS (
          SELECT 1 FROM pg_catalog.pg_attrdef e
          LEFT JOIN pg_catalog.pg_depend own ON own.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
            AND own.objid OPERATOR(pg_catalog.=) c.oid AND own.refobjid OPERATOR(pg_catalog.=) e.adrelid
          WHERE e.oid OPERATOR(pg_catalog.=) d.objid AND (e.adrelid OPERATOR(pg_catalog.=) c.oid OR own.objid IS NOT NULL)))), '[]'::pg_catalog.json)
  ) AS document
  FROM pg_catalog.pg_class c JOIN n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  LEFT JOIN valued v ON v.relation OPERATOR(pg_catalog.=) c.oid
  LEFT JOIN odd ON odd.attrelid OPERATOR(pg_catalog.=) c.oid
  WHERE c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
    AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f', 'S']::pg_catalog."char"[])
)
