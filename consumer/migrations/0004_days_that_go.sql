-- How a day goes that is too old: emptied, and then removed (docs/decisions/0032-days-that-go.md).
--
-- Consumers may insert and read, and nothing else. So these run with the rights of the owner (`grants.sql`), and see to it by
-- themselves that no young day goes. What counts is what the partition holds, not its name: PostgreSQL writes a day before
-- Christ like one after. Each takes a day and nothing that could become part of a statement.

-- The name of the partition, if it may go. Its bounds are written and read with the same settings.
CREATE FUNCTION log_day_that_may_go(day date) RETURNS text LANGUAGE plpgsql SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
DECLARE
    beyond timestamptz;
BEGIN
    IF day IS NULL OR NOT has_log_partition(day) THEN
        RAISE EXCEPTION '% has no partition', coalesce(day::text, 'NULL') USING ERRCODE = 'undefined_table';
    END IF;
    SELECT substring(pg_get_expr(relpartbound, oid) FROM $r$TO \('([^']+)'\)$r$)::timestamptz INTO beyond
    FROM pg_class WHERE oid = to_regclass(log_day_name(day));
    IF beyond IS NULL OR beyond > log_day_begin((clock_timestamp() AT TIME ZONE 'UTC')::date - 1) THEN
        RAISE EXCEPTION '% is too young to be dropped: today and yesterday (UTC) stay in any case', log_day_name(day)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN log_day_name(day);
END
$$;

-- Takes the day's own table, until the transaction ends. Fails where a session uses it: an archive would be made in vain.
CREATE FUNCTION take_log_day(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', log_day_that_may_go(day));
END
$$;

-- Writers to this very day wait, and its readers go on, until the transaction ends.
CREATE FUNCTION hold_log_day(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE MODE', log_day_that_may_go(day));
END
$$;

CREATE FUNCTION empty_log_day(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('TRUNCATE ONLY %I', log_day_that_may_go(day));
END
$$;

-- Removes an empty day, if all of the table can be had at once; tells whether it did. One that has rows again stays.
CREATE FUNCTION remove_log_day(day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name text := log_day_that_may_go(day);
    has_rows boolean;
BEGIN
    -- In the order in which inserts take them.
    LOCK TABLE ONLY logs IN ACCESS EXCLUSIVE MODE NOWAIT;
    LOCK TABLE ONLY logs_default IN ACCESS EXCLUSIVE MODE NOWAIT;
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE NOWAIT', name);
    EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %I)', name) INTO has_rows;
    IF has_rows THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END
$$;
