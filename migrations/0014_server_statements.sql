-- Reads pg_stat_statements for the report, in any schema and version. Safe to run again.

-- The statements of this database that took the most time, each a JSON object of the view's columns. No rows if the extension
-- isn't installed here. The caller needs the privileges on the view.
CREATE OR REPLACE FUNCTION public.server_statements(max_rows integer) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    view_oid oid;
    view_path text;
BEGIN
    SELECT class.oid, format('%I.%I', nspname, relname) INTO view_oid, view_path
    FROM pg_extension JOIN pg_namespace AS space ON space.oid = extnamespace
    JOIN pg_class AS class ON relnamespace = space.oid AND relname = 'pg_stat_statements'
    WHERE extname = 'pg_stat_statements';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT to_jsonb(statement) FROM %s AS statement
         WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY %I DESC LIMIT %s',
        view_path,
        -- Its name before version 1.8 was another.
        (SELECT min(attname) FROM pg_attribute
         WHERE attrelid = view_oid AND attname IN ('total_exec_time', 'total_time') AND NOT attisdropped),
        max_rows);
END
$$;
