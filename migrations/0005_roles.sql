-- Roles with no more rights than needed. They're groups that can't log in: make a login for each program, and GRANT it
-- the group.
--
--   reznet_app      what the API needs: rows of the tables, and the server's statistics; no DDL, no TRUNCATE
--   reznet_migrate  what scripts/migrate needs: making things in the schema public. Who makes a thing owns it, and only
--                   its owner may change it; so a login for migrations gets ALTER ROLE login SET role = reznet_migrate.
--                   What another role made before is handed over with REASSIGN OWNED BY that_role TO reznet_migrate.
--
-- Safe to run again, by others in the cluster's other databases at the same time too. Roles can be made only by an
-- administrator; for anybody else this says so, grants what it may, and does no harm.

DO $$
DECLARE
    app CONSTANT name := 'reznet_app';
    migrate CONSTANT name := 'reznet_migrate';
    tables CONSTANT text := 'agents, channels, messages, tasks, workflows, workflow_tasks';
    needed name;
    owning name;
    missing boolean := false;
BEGIN
    SELECT pg_get_userbyid(relowner) INTO STRICT owning FROM pg_class WHERE oid = 'agents'::regclass;

    FOREACH needed IN ARRAY ARRAY[app, migrate] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = needed) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', needed);
            EXCEPTION
                -- Made by somebody else at this moment.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN missing := true;
            END;
        END IF;
    END LOOP;
    IF missing THEN
        RAISE WARNING 'the roles % and % are not there, and % may not create roles', app, migrate, current_user
            USING HINT = 'To have them, an administrator runs migrations/0005_roles.sql with psql on database '
                || current_database() || '.';
        RETURN;
    END IF;

    -- Whose sessions wait for what, and how long statements take: other users' rows of the statistics too.
    IF NOT pg_has_role(app, 'pg_read_all_stats', 'MEMBER') THEN
        BEGIN
            EXECUTE format('GRANT pg_read_all_stats TO %I', app);
        EXCEPTION
            WHEN unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING '% may not grant pg_read_all_stats to %', current_user, app
                    USING HINT = format('For a complete performance report an administrator runs: '
                        'GRANT pg_read_all_stats TO %I;', app);
        END;
    END IF;

    -- The rest belongs to the tables' owner.
    IF NOT pg_has_role(current_user, owning, 'USAGE') THEN
        RAISE WARNING 'the tables belong to %, and % may not grant rights on them', owning, current_user
            USING HINT = format('%s runs migrations/0005_roles.sql with psql.', owning);
        RETURN;
    END IF;

    -- Before PostgreSQL 15 everybody may create things in public; whoever may change that, does.
    IF pg_has_role(current_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'public'), 'USAGE') THEN
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA public TO %I, %I', migrate, owning);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', app);
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    END IF;

    -- Schemas of ours beside public.
    IF pg_has_role(current_user, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO %I', current_database(), migrate);
    END IF;

    EXECUTE format('REVOKE ALL ON %s FROM %I', tables, app);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', tables, app);
    EXECUTE format('GRANT ALL ON %s TO %I', tables, migrate);
    -- Readiness reads the ledger. It isn't there where these files are run by hand.
    IF to_regclass('public.migration_ledger') IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON public.migration_ledger FROM %I', app);
        EXECUTE format('GRANT SELECT ON public.migration_ledger TO %I', app);
        EXECUTE format('GRANT ALL ON public.migration_ledger TO %I', migrate);
    END IF;

    -- Future tables, whoever of the two makes them.
    FOREACH needed IN ARRAY ARRAY[owning, migrate] LOOP
        IF pg_has_role(current_user, needed, 'USAGE') THEN
            EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public'
                ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', needed, app);
            EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public'
                ' GRANT USAGE ON SEQUENCES TO %I', needed, app);
            IF needed <> migrate THEN
                EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT ALL ON TABLES TO %I',
                    needed, migrate);
            END IF;
        END IF;
    END LOOP;
END
$$;
