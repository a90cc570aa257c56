-- The database roles, least privilege each. Run by `aegisctl db migrate` before
-- anything else, as a role that may create roles; safe to run again.
-- Passwords are the installation's to set; none is here.
--   aegis_migrator  owns the schema, runs migrations     (no one serves with it)
--   aegis_gateway   the nginx module: reads, and the statements of its routes
--   aegis_worker    the worker roles: every table's rows, no schema change
--   aegis_reader    dashboards and people: reads
DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['aegis_migrator', 'aegis_gateway', 'aegis_worker', 'aegis_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', r);
        END IF;
        EXECUTE format('ALTER ROLE %I SET search_path = aegis, pg_catalog', r);
        EXECUTE format('ALTER ROLE %I SET timezone = ''UTC''', r);
    END LOOP;
    -- A plan that was made while a table was empty must not scan it for ever.
    FOREACH r IN ARRAY ARRAY['aegis_gateway', 'aegis_worker'] LOOP
        EXECUTE format('ALTER ROLE %I SET enable_seqscan = off', r);
        EXECUTE format('ALTER ROLE %I SET jit = off', r);
        EXECUTE format('ALTER ROLE %I SET plan_cache_mode = force_generic_plan', r);
        EXECUTE format('ALTER ROLE %I SET lock_timeout = ''2s''', r);
        -- what the functions rely on: each of their statements sees what was
        -- committed before it (a database's default may be another)
        EXECUTE format('ALTER ROLE %I SET default_transaction_isolation = ''read committed''', r);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''10s''', r);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''30s''', r);
    END LOOP;
END $$;
