-- Who may do what with the tables. Run by their owner, with the schema and with a restore; safe to run again, also while everything
-- works. A role that is not there gets nothing: tests, and databases that are administered by other means, have none.

DO $$
DECLARE
    found record;
    -- The reader of the dashboards and the API see events, and nothing of how they came here but how far each writer is.
    readers constant text[] := ARRAY['grafana_reader', 'logs_api'];
    -- They make days, and drop old ones. Consumers call them, and may do nothing of it by themselves. Each takes days alone: what
    -- takes text or the name of a table is for these to call. `ensure_log_partition` is what earlier consumers call.
    makers constant text[] := ARRAY['make_log_partition', 'gate_log_partition', 'fill_log_partition', 'validate_log_partition',
        'attach_log_partition', 'open_log_partition', 'gate_log_default_part', 'fill_log_default_part', 'validate_log_default_part',
        'attach_log_default_part', 'open_log_default_part', 'take_log_day', 'hold_log_day', 'empty_log_day', 'remove_log_day',
        'ensure_log_partition'];
    -- What these call, and what earlier releases have left. The other functions look, and change nothing.
    helpers constant text[] := ARRAY['gate_log_default', 'open_log_gate', 'log_must_wait', 'log_day_that_may_go', 'move_from_log_default',
        'keep_out_of_log_default', 'let_into_log_default'];
    reader text;
BEGIN
    PERFORM set_config('search_path', 'public', true);

    IF to_regrole('logs_consumer') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA public TO logs_consumer;
        -- No UPDATE, no DELETE: what is stored stays as it was stored.
        GRANT SELECT, INSERT ON logs TO logs_consumer;
        GRANT SELECT, INSERT, UPDATE ON consumer_offsets TO logs_consumer;
        GRANT SELECT, UPDATE ON store_identity TO logs_consumer;
        -- A backup of an earlier release has none. A claim takes away the marks of generations that are over.
        IF to_regclass('writers') IS NOT NULL THEN
            GRANT SELECT, INSERT, UPDATE, DELETE ON writers TO logs_consumer;
            GRANT SELECT ON SEQUENCE logs_seq_seq TO logs_consumer;
        END IF;
        -- The first event of a tenant brings its name. That of an identity column's sequence comes with the table's right to insert.
        IF to_regclass('tenants') IS NOT NULL THEN
            GRANT SELECT, INSERT ON tenants TO logs_consumer;
            GRANT SELECT ON tenant_secret TO logs_consumer;
        END IF;
        GRANT USAGE, SELECT ON SEQUENCE consumer_generation TO logs_consumer;
        -- A partition by its own name is read by an archive, and asked whether it is locked.
        FOR found IN
            SELECT relid AS name FROM pg_partition_tree('logs')
            WHERE NOT has_table_privilege('logs_consumer', relid, 'INSERT') OR NOT has_table_privilege('logs_consumer', relid, 'SELECT')
        LOOP
            EXECUTE format('GRANT SELECT, INSERT ON %s TO logs_consumer', found.name);
        END LOOP;
        FOR found IN
            SELECT oid::regprocedure AS name FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace AND proname = ANY (makers)
              AND NOT EXISTS (SELECT FROM unnest(proargtypes) AS argument WHERE argument <> 'date'::regtype)
        LOOP
            -- Temporary tables last, else a session could put one of its own in the place of a table of ours; pg_catalog, which is not
            -- named since tables are made in the first that is, is first all the same. And a time means the same
            -- whatever the session has set.
            EXECUTE format(
                'ALTER FUNCTION %s SECURITY DEFINER SET search_path = public, pg_temp '
                'SET timezone = ''UTC'' SET datestyle = ''ISO, YMD''', found.name);
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO logs_consumer', found.name);
        END LOOP;
        FOR found IN
            SELECT oid::regprocedure AS name FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace AND proname = ANY (makers || helpers)
              AND has_function_privilege('public', oid, 'EXECUTE')
        LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', found.name);
        END LOOP;
        -- So has one that is made from now on. Other tables are none of its business.
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT SELECT, INSERT ON TABLES TO logs_consumer', current_user);
        FOR found IN
            SELECT oid::regclass AS name FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
              AND relname NOT IN ('logs', 'consumer_offsets', 'store_identity', 'writers', 'tenants', 'tenant_secret')
              AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid)
              AND (has_table_privilege('logs_consumer', oid, 'INSERT') OR has_table_privilege('logs_consumer', oid, 'SELECT'))
        LOOP
            -- `schema_migrations` among them.
            EXECUTE format('REVOKE ALL ON %s FROM logs_consumer', found.name);
        END LOOP;
    END IF;

    IF to_regrole('logs') IS NOT NULL AND current_user <> 'logs' THEN
        GRANT USAGE ON SCHEMA public TO logs;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO logs;
        GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO logs;
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT SELECT ON TABLES TO logs', current_user);
        -- People read what is stored. What keeps tenants' ids apart is no part of that.
        IF to_regclass('tenant_secret') IS NOT NULL THEN
            REVOKE ALL ON tenant_secret FROM logs;
        END IF;
    END IF;

    FOREACH reader IN ARRAY readers LOOP
        IF to_regrole(reader) IS NOT NULL THEN
            EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', reader);
            EXECUTE format('GRANT SELECT ON logs TO %I', reader);
        END IF;
    END LOOP;
    IF to_regclass('tenant_secret') IS NOT NULL THEN
        -- With the rights of the owner, who alone knows the secret besides the consumers.
        ALTER FUNCTION stored_event_id(smallint, uuid) SECURITY DEFINER SET search_path = public, pg_temp;
        REVOKE EXECUTE ON FUNCTION stored_event_id(smallint, uuid) FROM PUBLIC;
    END IF;
    IF to_regrole('logs_api') IS NOT NULL THEN
        -- The console reads for one tenant at a time, and the table as a whole never.
        IF to_regclass('tenant_logs') IS NOT NULL THEN
            REVOKE ALL ON logs FROM logs_api;
            GRANT SELECT ON tenant_logs, tenants TO logs_api;
            GRANT EXECUTE ON FUNCTION stored_event_id(smallint, uuid) TO logs_api;
        END IF;
        -- A cursor names the database that it is of.
        GRANT SELECT ON store_identity TO logs_api;
        -- How far each writer is; a backup of an earlier release does not say.
        IF to_regclass('log_writers') IS NOT NULL THEN
            GRANT SELECT ON log_writers TO logs_api;
        END IF;
        -- Of days that were dropped, how far its tenant's rows went.
        IF to_regclass('tenant_dropped_days') IS NOT NULL THEN
            GRANT SELECT ON tenant_dropped_days TO logs_api;
        END IF;
    END IF;

    IF to_regrole('exporter') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA public TO exporter;
    END IF;
END
$$;
