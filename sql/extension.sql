-- The extension as a whole: what it consists of, that every object has a comment and none runs with its owner's rights,
-- that it can be dropped and created again, and that it is for superusers to create.
\i test/regress/helpers.sql
DROP VIEW leak, history;

DROP EXTENSION pgleak;
CREATE EXTENSION pgleak;
SELECT e.extversion, e.extrelocatable, n.nspname
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pgleak';

-- Its objects; not the types that come with every table and view.
CREATE TEMP VIEW object AS
    SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) COLLATE "C" AS name
    FROM pg_depend d
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid <> 'pg_type'::regclass
      AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgleak');
SELECT name FROM object ORDER BY name;

-- Their columns, which users rely on. (Those of the views for Prometheus: see metrics.sql.)
SELECT c.relname::text COLLATE "C" AS object, string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)),
    E',\n' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'pgleak'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped
  AND c.relname NOT LIKE 'metrics%'
GROUP BY c.relname ORDER BY 1;

-- Without a comment: nothing. Not the schema's, not an object's, not an index's, not that of a column with content.
SELECT name FROM object WHERE obj_description(objid, classid::regclass::text::name) IS NULL ORDER BY name;
SELECT obj_description('pgleak'::regnamespace, 'pg_namespace') IS NOT NULL AS schema_has_comment;
SELECT i.indexrelid::regclass
FROM pg_index i JOIN object o ON o.objid = i.indrelid
WHERE NOT i.indisprimary AND obj_description(i.indexrelid, 'pg_class') IS NULL;
SELECT a.attname
FROM pg_attribute a
WHERE a.attrelid = 'pgleak.history'::regclass AND a.attnum > 0 AND col_description(a.attrelid, a.attnum) IS NULL
  AND a.attname NOT IN ('last_action', 'last_action_at', 'last_action_result', 'trail')
ORDER BY a.attname COLLATE "C";

-- With the rights of the owner: nothing.
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'pgleak'::regnamespace AND p.prosecdef;

-- Every column of the rules has one.
SELECT attname FROM pg_attribute
WHERE attrelid = 'pgleak.rules'::regclass AND attnum > 0 AND col_description(attrelid, attnum) IS NULL;

-- pg_dump takes the rules along, all of them, and no rows of history.
SELECT c."table"::regclass, c.condition
FROM pg_extension, unnest(extconfig, extcondition) AS c("table", condition)
WHERE extname = 'pgleak';

-- DROP leaves none of them behind, and CREATE works again.
DROP VIEW object;
DROP EXTENSION pgleak;
SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = to_regnamespace('pgleak');
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = to_regnamespace('pgleak');
CREATE EXTENSION pgleak;
SELECT count(*) AS rows FROM pgleak.history;

-- It belongs to superusers, and into its own schema.
DROP EXTENSION pgleak;
CREATE ROLE regress_pgleak_user;
SET ROLE regress_pgleak_user;
SELECT pg_temp.error_of('CREATE EXTENSION pgleak');
RESET ROLE;
DROP ROLE regress_pgleak_user;
CREATE EXTENSION pgleak SCHEMA public;
CREATE EXTENSION pgleak;
ALTER EXTENSION pgleak SET SCHEMA public;
DROP EXTENSION pgleak;

-- The schema goes with it, and one that somebody made in advance is not adopted: its owner would own our objects.
SELECT to_regnamespace('pgleak') IS NULL AS is_gone;
CREATE SCHEMA pgleak;
SELECT pg_temp.error_of('CREATE EXTENSION pgleak');
DROP SCHEMA pgleak;
