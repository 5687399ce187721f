-- Doc/reference.md: every setting, view, table and function as the server itself describes them.
-- Called by: test/docs/run, through psql -XAt, in a database with the extension.
-- Must never: say what is not in a COMMENT or in pg_settings.
\pset footer off
SELECT E'# Reference\n\nWritten by `make reference` from a server with pgleak; `make doccheck` checks that it is up to date.\n\n## Settings\n\n'
  || E'| setting | default | from | to | context | meaning |\n|---|---|---|---|---|---|';
SELECT format('| `%s` | `%s%s` | %s | %s | %s | %s |', name, boot_val,
              CASE WHEN boot_val <> '0' THEN ' ' || unit END, min_val, max_val, context,
              replace(concat_ws(' ', short_desc, extra_desc), '|', '\|'))
FROM pg_settings WHERE name LIKE 'pgleak.%' ORDER BY name COLLATE "C";

SELECT E'\n## Views and tables\n';
SELECT format(E'### pgleak.%s\n\n%s (%s).\n\n| column | type | meaning |\n|---|---|---|\n%s\n', c.relname, obj_description(c.oid, 'pg_class'),
              CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END,
              (SELECT string_agg(format('| `%s` | %s | %s |', a.attname, format_type(a.atttypid, a.atttypmod),
                                        replace(coalesce(col_description(c.oid, a.attnum), ''), '|', '\|')), E'\n' ORDER BY a.attnum)
               FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
FROM pg_class c WHERE c.relnamespace = 'pgleak'::regnamespace AND c.relkind IN ('v', 'r') ORDER BY c.relname COLLATE "C";

SELECT E'## Functions\n\n| function | returns | meaning |\n|---|---|---|';
SELECT format('| `pgleak.%s(%s)` | %s | %s |', proname, pg_get_function_identity_arguments(oid),
              CASE WHEN proretset THEN 'rows' ELSE format_type(prorettype, NULL) END,
              replace(obj_description(oid, 'pg_proc'), '|', '\|'))
FROM pg_proc WHERE pronamespace = 'pgleak'::regnamespace ORDER BY proname COLLATE "C";
