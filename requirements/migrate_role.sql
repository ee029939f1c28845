-- Finds the privileges that the role reznet_migrate lacks on objects of another role, and the missing default privileges for future
-- objects. migrations/0005_roles.sql grants these privileges once, and a restore without privileges (pg_dump -x) loses them. Returns one
-- row for each missing GRANT, with a flag whether the current user may run it. Changes nothing.
WITH owner AS MATERIALIZED (
    SELECT relowner AS oid, pg_get_userbyid(relowner) AS name FROM pg_class
    WHERE relname = 'agents' AND relnamespace = to_regnamespace('public') AND relkind = 'r'
),
migrate AS MATERIALIZED (
    SELECT given.name, pg_roles.oid FROM (VALUES ('reznet_migrate')) AS given (name) LEFT JOIN pg_roles ON rolname = given.name
),
-- Lists the expected default privileges. Only members of reznet_migrate can change the default privileges for objects that
-- reznet_migrate creates.
default_privilege (grantor_oid, grantor, kind, privileges, grantee) AS (
    SELECT owner.oid, owner.name, 'r', 'SELECT, INSERT, UPDATE, DELETE', 'reznet_app' FROM owner
    UNION ALL
    SELECT owner.oid, owner.name, 'S', 'USAGE', 'reznet_app' FROM owner
    UNION ALL
    SELECT owner.oid, owner.name, 'r', 'ALL', 'reznet_migrate' FROM owner WHERE owner.name <> 'reznet_migrate'
    UNION ALL
    SELECT migrate.oid, migrate.name, 'r', 'SELECT, INSERT, UPDATE, DELETE', 'reznet_app' FROM migrate, owner
    WHERE owner.name <> 'reznet_migrate' AND pg_has_role(migrate.oid, 'USAGE')
    UNION ALL
    SELECT migrate.oid, migrate.name, 'S', 'USAGE', 'reznet_app' FROM migrate, owner
    WHERE owner.name <> 'reznet_migrate' AND pg_has_role(migrate.oid, 'USAGE')
)
-- A GRANT to a missing role fails. So if a role is missing and the current user may not create it, may_run is false in all rows.
SELECT statement, may_run AND NOT EXISTS (
    SELECT FROM unnest(ARRAY['reznet_app', 'reznet_migrate']) AS needed
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = needed)
      AND NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)) AS may_run
FROM (
    SELECT 1, 'CREATE ROLE reznet_migrate NOLOGIN', rolsuper OR rolcreaterole
    FROM migrate, pg_roles AS me
    WHERE migrate.oid IS NULL AND me.rolname = current_user
    UNION ALL
    SELECT 2, format('GRANT CREATE ON DATABASE %I TO %I', datname, migrate.name), pg_has_role(datdba, 'USAGE')
    FROM migrate, pg_database
    WHERE datname = current_database() AND has_database_privilege(migrate.oid, pg_database.oid, 'CREATE') IS NOT TRUE
    UNION ALL
    SELECT 3, format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', nspname, migrate.name), pg_has_role(nspowner, 'USAGE')
    FROM migrate, pg_namespace
    WHERE nspname IN ('public', 'profile')
      AND (has_schema_privilege(migrate.oid, pg_namespace.oid, 'USAGE') AND has_schema_privilege(migrate.oid, pg_namespace.oid, 'CREATE'))
          IS NOT TRUE
    UNION ALL
    SELECT 4, format('GRANT ALL ON %I.%I TO %I', nspname, relname, migrate.name), pg_has_role(relowner, 'USAGE')
    FROM migrate, pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE (nspname = 'profile' AND relkind IN ('r', 'v')
           OR nspname = 'public' AND relname IN ('migration_ledger', 'agents', 'channels', 'messages', 'tasks', 'workflows',
                'workflow_tasks', 'idempotency_keys', 'stats'))
      AND EXISTS (
          SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
          WHERE has_table_privilege(migrate.oid, pg_class.oid, privilege) IS NOT TRUE)
    UNION ALL
    SELECT 5, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT %s ON %s TO %I', grantor, privileges,
                     CASE kind WHEN 'r' THEN 'TABLES' ELSE 'SEQUENCES' END, grantee),
           coalesce(pg_has_role(grantor_oid, 'USAGE'), false)
    FROM default_privilege
    WHERE NOT EXISTS (
        SELECT FROM pg_default_acl CROSS JOIN LATERAL aclexplode(defaclacl) AS acl JOIN pg_roles ON pg_roles.oid = acl.grantee
        WHERE defaclrole = grantor_oid AND defaclnamespace = to_regnamespace('public') AND defaclobjtype::text = kind
          AND rolname = default_privilege.grantee)
) AS missing (rank, statement, may_run)
ORDER BY rank, statement
