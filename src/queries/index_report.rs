//! The report's section on indexes: whether the named indexes are as declared, and which other indexes are missing or useless. The section
//! reads the catalogue only. `performance.rs` reads the statistics about indexes.

use crate::db::{Access, Effect, Statement};

/// Foreign keys that need no index, because the rows that they refer to are hardly ever deleted. If rows are deleted, the report advises an
/// index.
pub(super) const EXEMPT_KEYS: &[&str] = &[
    "messages_thread_id_fkey",
    "tasks_assigned_to_fkey",
    "workflow_tasks_agent_id_fkey",
    "workflows_orchestrator_id_fkey",
];

/// The section's SQL. $1 is a JSON object with `named` and `exempt_keys`.
///
/// In the SQL of the advice, every name is quoted and has its schema, because the settings of the operator's session are unknown. Each
/// statement is on a line of its own, and has to run outside of a transaction, because most are CONCURRENTLY.
///
/// Indexes of partitioned tables can neither be created nor dropped CONCURRENTLY. So the advice creates an index on the partitioned table ONLY, which
/// is invalid at first. It then creates an index CONCURRENTLY on each partition and attaches it. Once all are attached, the first index is valid.
pub(super) const INDEXES: &str = "WITH RECURSIVE asked AS MATERIALIZED (
            SELECT named, exempt_keys FROM json_to_record($1::text::json) AS asked (named json, exempt_keys text[])
        ), relation AS MATERIALIZED (
            SELECT class.oid, relname AS name, relkind AS kind, nspname AS schema, relnamespace AS schema_oid,
                   format('%I.%I', nspname, relname) AS path
            FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = relnamespace
        ), named AS MATERIALIZED (
            -- The indexes that statements rely on, as they are declared.
            SELECT name, definition, part[1] AS words, part[2] AS on_table, part[3] AS tail
            FROM asked, json_to_recordset(named) AS named (name text, definition text),
                 regexp_match(definition, '^(CREATE (?:UNIQUE )?INDEX) \\S+ ON public\\.(\\S+) (.*)$') AS part
        ), index AS MATERIALIZED (
            SELECT i.indexrelid AS oid, i.indrelid AS table_oid, class.relname AS name, on_table.name AS on_table,
                   format('%I.%I', on_table.schema, class.relname) AS path, on_table.path AS table_path,
                   class.relkind = 'I' AS is_partitioned, class.relispartition AS is_partition, amname AS method,
                   i.indisvalid AS is_valid, i.indisunique AS is_unique, i.indisprimary AS is_primary,
                   i.indimmediate AS is_immediate, i.indisexclusion AS is_exclusion, i.indisreplident AS is_identity,
                   -- PostgreSQL 14 has no such column.
                   coalesce(to_json(i)->>'indnullsnotdistinct', 'false') AS nulls_not_distinct,
                   columns[:i.indnkeyatts] AS columns, columns[i.indnkeyatts + 1:] AS included,
                   string_to_array(i.indclass::text, ' ')::oid[] AS classes,
                   string_to_array(i.indcollation::text, ' ')::oid[] AS collations,
                   string_to_array(i.indoption::text, ' ')::int[] AS options,
                   -- pg_get_expr would wait for locks on the table.
                   coalesce(regexp_replace(i.indexprs::text, ' :location -?[0-9]+', '', 'g'), '') AS expressions,
                   coalesce(regexp_replace(i.indpred::text, ' :location -?[0-9]+', '', 'g'), '') AS predicate,
                   conname, conname IS NOT NULL AS is_constraint,
                   -- Another object, such as a foreign key to these columns, depends on the index.
                   EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_class'::regclass AND refobjid = i.indexrelid
                           AND deptype = 'n') AS is_needed,
                   EXISTS (SELECT FROM named WHERE named.name = class.relname) AS is_named
            FROM pg_index AS i JOIN pg_class AS class ON class.oid = i.indexrelid JOIN pg_am ON pg_am.oid = class.relam
            JOIN relation AS on_table ON on_table.oid = i.indrelid
            LEFT JOIN pg_constraint AS owner ON owner.conindid = i.indexrelid AND owner.contype IN ('p', 'u', 'x'),
            LATERAL (SELECT string_to_array(i.indkey::text, ' ')::int2[] AS columns) AS keys
            WHERE on_table.schema = 'public'
        ), described AS MATERIALIZED (
            -- The definition of each index in the form of pg_get_indexdef, which would wait for locks on the table.
            SELECT index.oid, format('CREATE %sINDEX %s ON public.%s USING %s (%s)', CASE WHEN is_unique THEN 'UNIQUE ' END, name,
                       on_table, method, string_agg(concat(coalesce(attname, '…'), CASE WHEN option & 1 = 1 THEN ' DESC' END,
                           CASE option & 3 WHEN 2 THEN ' NULLS FIRST' WHEN 1 THEN ' NULLS LAST' END), ', ' ORDER BY place)) AS definition,
                   bool_and(attname IS NOT NULL AND opcdefault AND collation_oid = attcollation)
                       AND predicate = '' AND included = '{}' AND nulls_not_distinct = 'false' AS is_plain
            FROM index CROSS JOIN unnest(columns, classes, collations, options)
                WITH ORDINALITY AS part (attnum, class_oid, collation_oid, option, place)
            JOIN pg_opclass ON pg_opclass.oid = class_oid
            LEFT JOIN pg_attribute AS attribute ON attrelid = table_oid AND attribute.attnum = part.attnum AND part.attnum <> 0
            WHERE is_named
            GROUP BY index.oid, is_unique, name, on_table, method, predicate, included, nulls_not_distinct
        ), contract AS MATERIALIZED (
            -- The state of each named index. Ignores storage parameters, because plans don't depend on them.
            SELECT named.*, relation.oid AS table_oid, found.oid AS oid, found.kind AS found_kind,
                   described.definition || CASE WHEN is_plain THEN '' ELSE ', with more options' END AS found_definition,
                   is_partitioned, is_partition, is_constraint, is_primary, is_exclusion, is_identity, is_needed, table_path,
                   CASE WHEN found.oid IS NULL THEN 'missing' WHEN index.oid IS NULL THEN 'changed' WHEN NOT is_valid THEN 'invalid'
                        WHEN described.definition <> named.definition OR NOT is_plain THEN 'changed'
                        ELSE 'ok' END AS state,
                   (SELECT sum(greatest(reltuples, 0))::bigint FROM pg_class
                    WHERE pg_class.oid = relation.oid OR relispartition AND pg_partition_root(pg_class.oid) = relation.oid) AS rows
            FROM named
            LEFT JOIN relation ON relation.schema = 'public' AND relation.name = named.on_table AND relation.kind IN ('r', 'p', 'm')
            LEFT JOIN relation AS found ON found.schema = 'public' AND found.name = named.name
            LEFT JOIN index ON index.oid = found.oid
            LEFT JOIN described ON described.oid = found.oid
        ), foreign_key AS MATERIALIZED (
            -- The foreign keys without an index on the referring columns.
            SELECT key.oid, conname, conrelid, confrelid, conname = ANY (exempt_keys) AS is_exempt, column_list
            FROM asked, pg_constraint AS key,
            LATERAL (
                SELECT string_agg(quote_ident(own.attname) || CASE WHEN own.attcollation = other.attcollation THEN '' ELSE
                           (SELECT format(' COLLATE %I.%I', nspname, collname)
                            FROM pg_collation JOIN pg_namespace ON pg_namespace.oid = collnamespace
                            WHERE pg_collation.oid = other.attcollation) END, ', ' ORDER BY place) AS column_list
                FROM unnest(conkey, confkey) WITH ORDINALITY AS pair (own, other, place)
                JOIN pg_attribute AS own ON own.attrelid = conrelid AND own.attnum = pair.own
                JOIN pg_attribute AS other ON other.attrelid = confrelid AND other.attnum = pair.other) AS described
            WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conparentid = 0 AND NOT EXISTS (
                SELECT FROM index
                WHERE table_oid = conrelid AND is_valid AND method IN ('btree', 'hash')
                  -- An index WHERE a key column IS NOT NULL is sufficient: a referring row has no null in its key.
                  AND regexp_replace(predicate, '\\{NULLTEST :arg \\{VAR :varno 1 :varattno (' || array_to_string(conkey, '|')
                          || ') [^{}]*\\} :nulltesttype 1 :argisrow false\\}', '', 'g') ~ '^(\\{BOOLEXPR :boolop and :args \\( *\\)\\})?$'
                  AND columns[:cardinality(conkey)] @> conkey
                  AND NOT EXISTS (
                    SELECT FROM unnest(conkey, confkey, conpfeqop) AS pair (own, other, operator)
                    JOIN pg_attribute AS other ON attrelid = confrelid AND attnum = pair.other
                    WHERE NOT EXISTS (
                        SELECT FROM unnest(columns, classes, collations) AS part (attnum, class_oid, collation_oid)
                        JOIN pg_opclass ON pg_opclass.oid = class_oid
                        JOIN pg_amop ON amopfamily = opcfamily AND amopopr = operator
                        WHERE part.attnum = own AND collation_oid = attcollation)))
              -- Omits keys for which an advised named index would be sufficient.
              AND NOT EXISTS (
                SELECT FROM contract WHERE state <> 'ok' AND table_oid = conrelid
                  AND (starts_with(tail, format('USING btree (%s,', column_list)) OR starts_with(tail, format('USING btree (%s)', column_list))))
        ), wanted AS MATERIALIZED (
            -- The indexes to create.
            SELECT name AS id, words, name, tail, table_oid FROM contract WHERE state <> 'ok' AND table_oid IS NOT NULL
            UNION ALL
            SELECT 'invalid ' || oid, create_words, name,
                   substr(pg_get_indexdef(oid), length(format('%s %I ON ONLY %s ', create_words, name, table_path)) + 1), table_oid
            FROM index, LATERAL (SELECT CASE WHEN is_unique THEN 'CREATE UNIQUE INDEX' ELSE 'CREATE INDEX' END AS create_words) AS words
            WHERE NOT is_valid AND is_partitioned AND NOT is_partition AND NOT is_named
            UNION ALL
            SELECT 'foreign key ' || oid, 'CREATE INDEX', 'idx_' || oid, format('(%s)', column_list), conrelid FROM foreign_key
        ), node AS (
            -- The table of each index to create, and the table's partitions.
            SELECT id, table_oid AS oid, NULL::oid AS parent, 0 AS level FROM wanted
            UNION ALL
            SELECT id, inhrelid, inhparent, level + 1
            FROM node JOIN relation ON relation.oid = node.oid AND kind = 'p' JOIN pg_inherits ON inhparent = node.oid
        ), step AS (
            SELECT node.*, kind, path, schema, words, tail, level > 0 OR node.id NOT LIKE 'foreign key %' AS is_named, CASE WHEN level = 0 THEN wanted.name ELSE free_name END AS index_name,
                   bool_or(kind = 'f') OVER (PARTITION BY node.id) AS has_foreign
            FROM node JOIN wanted USING (id) JOIN relation ON relation.oid = node.oid,
            LATERAL (
                SELECT concat(left(wanted.name, 40), '_', node.oid, '_' || nullif(n, 0)) AS free_name FROM generate_series(0, 100) AS n
                WHERE NOT EXISTS (
                    SELECT FROM pg_class WHERE relnamespace = schema_oid
                       AND relname = concat(left(wanted.name, 40), '_', node.oid, '_' || nullif(n, 0)))
                ORDER BY n LIMIT 1) AS names
        ), creation AS MATERIALIZED (
            -- Creates indexes CONCURRENTLY on partitions and attaches them. A foreign table can't have an index, so a partitioned
            -- table with one gets its index in one step.
            SELECT step.id, string_agg(
                CASE WHEN step.has_foreign THEN format('%s %I ON %s %s;', step.words, step.index_name, step.path, step.tail)
                     WHEN step.kind = 'p' THEN format('%s %I ON ONLY %s %s;', step.words, step.index_name, step.path, step.tail)
                     WHEN step.is_named THEN format('%s CONCURRENTLY %I ON %s %s;', step.words, step.index_name, step.path, step.tail)
                     ELSE format('%s CONCURRENTLY ON %s %s;', step.words, step.path, step.tail) END
                || CASE WHEN parent.id IS NULL THEN '' ELSE
                     format(chr(10) || 'ALTER INDEX %I.%I ATTACH PARTITION %I.%I;', parent.schema, parent.index_name, step.schema,
                            step.index_name) END,
                chr(10) ORDER BY step.level, step.oid) AS sql
            FROM step LEFT JOIN step AS parent ON parent.id = step.id AND parent.oid = step.parent
            WHERE step.level = 0 OR NOT step.has_foreign
            GROUP BY step.id
        ), advice (name, level, detail, sql, unless_building, if_deleted_from) AS (
            SELECT 'index_' || state, 'error', name || CASE
                       WHEN table_oid IS NULL THEN format(' is missing, and so is its table public.%I: run scripts/migrate.', on_table)
                       WHEN state = 'missing' THEN ' is missing: the statements it is for scan or sort.'
                       WHEN state = 'invalid' THEN ' is invalid: it costs every write and serves no read.'
                       WHEN found_definition IS NULL THEN ' is not an index, but another relation of that name.'
                       ELSE ' is not as it is declared, but: ' || found_definition END,
                   CASE WHEN table_oid IS NULL THEN NULL
                       WHEN state = 'missing' THEN creation.sql
                       WHEN state = 'invalid' AND is_partitioned THEN CASE WHEN NOT is_constraint AND NOT is_needed THEN
                           format('DROP INDEX public.%I;', name) || chr(10) || creation.sql END
                       WHEN state = 'invalid' THEN format('REINDEX INDEX %spublic.%I;', CASE WHEN is_exclusion THEN '' ELSE 'CONCURRENTLY ' END, name)
                       -- Creates the new index first, so that queries always have an index.
                       ELSE format('ALTER %s public.%I RENAME TO %I;', CASE found_kind WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX'
                                   WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, name, name || '_' || contract.oid) || chr(10) || creation.sql
                           || CASE WHEN found_definition IS NULL OR is_primary OR is_identity OR is_needed OR is_partition THEN ''
                                WHEN is_constraint THEN format(chr(10) || 'ALTER TABLE %s DROP CONSTRAINT %I;', table_path, name || '_' || contract.oid)
                                ELSE format(chr(10) || 'DROP INDEX %spublic.%I;', CASE WHEN is_partitioned THEN '' ELSE 'CONCURRENTLY ' END,
                                            name || '_' || contract.oid) END
                   END, oid::bigint, NULL::bigint
            FROM contract LEFT JOIN creation ON creation.id = name WHERE state <> 'ok'
            UNION ALL
            SELECT 'invalid_index', 'error', format('%s on %s is invalid: it costs every write and serves no read.', name, on_table),
                   CASE WHEN is_partitioned THEN CASE WHEN NOT is_constraint AND NOT is_needed THEN
                            format('DROP INDEX %s;', path) || chr(10) || creation.sql END
                        -- An invalid index that an interrupted REINDEX CONCURRENTLY left behind.
                        WHEN name ~ '_cc(new|old)[0-9]*$' AND NOT is_constraint THEN format('DROP INDEX CONCURRENTLY %s;', path)
                        ELSE format('REINDEX INDEX %s%s;', CASE WHEN is_exclusion THEN '' ELSE 'CONCURRENTLY ' END, path) END,
                   oid::bigint, NULL
            FROM index LEFT JOIN creation ON creation.id = 'invalid ' || oid
            WHERE NOT is_valid AND NOT is_named AND NOT (is_partitioned AND is_partition)
            UNION ALL
            SELECT 'duplicate_index', 'warning', format('%s on %s is the same as %s.', spare.name, spare.on_table, min(kept.name)),
                   CASE WHEN spare.is_constraint THEN format('ALTER TABLE %s DROP CONSTRAINT %I;', spare.table_path, spare.conname)
                        ELSE format('DROP INDEX %s%s;', CASE WHEN spare.is_partitioned THEN '' ELSE 'CONCURRENTLY ' END, spare.path) END,
                   NULL, NULL
            FROM index AS spare JOIN index AS kept
                USING (table_oid, columns, classes, collations, options, method, expressions, predicate, nulls_not_distinct)
            WHERE spare.is_valid AND kept.is_valid AND kept.included @> spare.included
              AND NOT (spare.is_named OR spare.is_partition OR spare.is_primary OR spare.is_exclusion OR spare.is_identity OR spare.is_needed)
              AND (kept.is_unique OR NOT spare.is_unique) AND (kept.is_immediate OR NOT spare.is_immediate)
              AND (kept.is_constraint OR NOT spare.is_constraint) AND NOT kept.is_exclusion
              AND ((NOT spare.included @> kept.included, kept.is_named, kept.is_identity OR kept.is_needed, kept.is_primary, kept.is_constraint, kept.is_unique, kept.is_partition, -kept.oid::bigint)
                > (false, spare.is_named, spare.is_identity OR spare.is_needed, spare.is_primary, spare.is_constraint, spare.is_unique, spare.is_partition, -spare.oid::bigint))
            GROUP BY spare.name, spare.on_table, spare.is_constraint, spare.table_path, spare.conname, spare.is_partitioned, spare.path
            UNION ALL
            SELECT 'covered_index', 'info', format('%s on %s is the beginning of %s, which does for it.', spare.name, spare.on_table, min(kept.name)),
                   format('DROP INDEX %s%s;', CASE WHEN spare.is_partitioned THEN '' ELSE 'CONCURRENTLY ' END, spare.path), NULL, NULL
            FROM index AS spare JOIN index AS kept USING (table_oid, method, predicate), LATERAL cardinality(spare.columns) AS length
            WHERE method = 'btree' AND spare.is_valid AND kept.is_valid AND cardinality(kept.columns) > length
              AND kept.columns[:length] = spare.columns AND kept.classes[:length] = spare.classes
              AND kept.collations[:length] = spare.collations AND kept.options[:length] = spare.options
              AND spare.expressions = '' AND kept.expressions = '' AND kept.columns || kept.included @> spare.included
              AND NOT (spare.is_named OR spare.is_partition OR spare.is_unique OR spare.is_constraint OR spare.is_identity OR spare.is_needed)
            GROUP BY spare.name, spare.on_table, spare.path, spare.is_partitioned
            UNION ALL
            SELECT 'unindexed_foreign_key', 'warning',
                   format('%s on %s has no index: deleting a row of %s scans it.', conname, own.name, other.name), creation.sql, NULL,
                   CASE WHEN is_exempt THEN confrelid::bigint END
            FROM foreign_key JOIN creation ON creation.id = 'foreign key ' || foreign_key.oid
            JOIN relation AS own ON own.oid = conrelid JOIN relation AS other ON other.oid = confrelid
        )
        SELECT json_build_object(
            'members', '{}'::json,
            'facts', json_build_object('contract', (
                SELECT json_agg(json_build_object('index', name, 'state', state, 'definition', definition, 'rows', rows) ORDER BY name)
                FROM contract)),
            'advice', (SELECT coalesce(json_agg(advice), '[]') FROM (SELECT * FROM advice LIMIT 200) AS advice))";

pub(super) static PERFORMANCE_INDEXES: Statement = Statement {
    name: "performance_indexes",
    sql: constcat::concat!["SELECT (", INDEXES, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("the catalogue only"),
    max_rows: 200,
};
