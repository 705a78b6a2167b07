-- How a day gets its partition without a lock that a reader could turn into an outage. Functions alone: no table is touched.
--
-- each run: an earlier release that is started beside this one, or in its place, puts its own functions there

-- The tables for rows of days without a partition, each with the times that it takes; NULL is no bound. The name is looked up
-- with each call: a literal regclass would stay, in a session's plans, the table that once had the name.
CREATE OR REPLACE FUNCTION log_default_parts()
RETURNS TABLE (part regclass, first timestamptz, beyond timestamptz) LANGUAGE plpgsql STABLE AS $$
DECLARE
    whole regclass := to_regclass('logs_default');
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = whole AND relkind = 'p') THEN
        RETURN QUERY SELECT whole, NULL::timestamptz, NULL::timestamptz;
        RETURN;
    END IF;
    RETURN QUERY
        SELECT i.inhrelid::regclass,
               substring(b.bound FROM $r$FROM \('([^']+)'\)$r$)::timestamptz,
               substring(b.bound FROM $r$TO \('([^']+)'\)$r$)::timestamptz
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) AS b
        WHERE i.inhparent = whole;
END
$$;

-- No day lies in two parts.
CREATE OR REPLACE FUNCTION log_default_part(day date) RETURNS regclass LANGUAGE sql STABLE AS $$
    SELECT part FROM log_default_parts()
    WHERE (first IS NULL OR first <= log_day_begin(day)) AND (beyond IS NULL OR beyond > log_day_begin(day))
$$;

CREATE OR REPLACE FUNCTION log_gate_name(first date, beyond date) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'logs_default_without_' || to_char(first, 'YYYYMMDD') || '_' || to_char(beyond, 'YYYYMMDD')
$$;

CREATE OR REPLACE FUNCTION log_must_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % must wait, their partition is being made', NEW.event_time::date
        USING ERRCODE = 'lock_not_available', CONSTRAINT = TG_ARGV[0];
END
$$;

-- From here on no row of these days can go to this part of the default partition, and PostgreSQL can validate that while all
-- components go on. A constraint alone would refuse such a row for good (23514), and consumers of earlier releases would set it
-- aside. The trigger comes before it, and its error is one that all releases answer by trying again.
CREATE OR REPLACE FUNCTION gate_log_default(part regclass, first date, beyond date, allowed text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER %1$I BEFORE INSERT ON %2$s FOR EACH ROW WHEN (NOT (%3$s)) EXECUTE FUNCTION log_must_wait(%1$L)',
        log_gate_name(first, beyond), part, replace(allowed, 'event_time', 'NEW.event_time'));
    EXECUTE format(
        'ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s) NOT VALID', part, log_gate_name(first, beyond), allowed);
END
$$;

CREATE OR REPLACE FUNCTION open_log_gate(part regclass, first date, beyond date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', log_gate_name(first, beyond), part);
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', part, log_gate_name(first, beyond));
END
$$;

-- A day that is made behind a gate: the gate, the table with its rows, the proof that no more are left, its place.
CREATE OR REPLACE FUNCTION gate_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gate_log_default(
        log_default_part(day), day, day + 1,
        format('event_time < %L OR event_time >= %L', log_day_begin(day), log_day_begin(day + 1)));
END
$$;

CREATE OR REPLACE FUNCTION validate_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE %s VALIDATE CONSTRAINT %I', log_default_part(day), log_gate_name(day, day + 1));
END
$$;

CREATE OR REPLACE FUNCTION open_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM open_log_gate(log_default_part(day), day, day + 1);
    -- That of an earlier release had another name and no trigger.
    EXECUTE format(
        'ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I',
        log_default_part(day), 'logs_default_without_' || to_char(day, 'YYYYMMDD'));
END
$$;

CREATE OR REPLACE FUNCTION attach_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        log_day_name(day), log_day_begin(day), log_day_begin(day + 1));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT of_the_day', log_day_name(day));
    PERFORM let_into_log_default(day);
    PERFORM open_log_partition(day);
END
$$;

-- All at once. For where the part of the default partition that could have rows of the day is small.
CREATE OR REPLACE FUNCTION make_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF has_log_partition(day) THEN
        RETURN;
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('log partitions')) THEN
        RAISE EXCEPTION 'another session is making partitions' USING ERRCODE = 'lock_not_available';
    END IF;
    PERFORM fill_log_partition(day);
    -- In the order in which inserts take them, so that the two cannot deadlock.
    LOCK TABLE ONLY logs IN SHARE UPDATE EXCLUSIVE MODE;
    LOCK TABLE logs_default IN ACCESS EXCLUSIVE MODE;
    PERFORM move_from_log_default(day);  -- what came meanwhile
    PERFORM attach_log_partition(day);
END
$$;

-- Consumers of earlier releases call this in the middle of their work, and store nothing while it fails. So it waits for no
-- reader and fails for none: what it leaves undone, the task of a newer consumer does, and rows go to the default partition.
CREATE OR REPLACE FUNCTION ensure_log_partition(day date) RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
BEGIN
    IF to_regclass(log_day_name(day)) IS NOT NULL OR pg_relation_size(log_default_part(day)) > 33554432 THEN
        RETURN;
    END IF;
    PERFORM make_log_partition(day);
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN
        RAISE WARNING 'no partition for % yet: %', day, SQLERRM;
END
$$;

-- The part for the next month is cut off from the part for all that is to come, in the same steps as a day.
CREATE OR REPLACE FUNCTION log_default_part_name(first date) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'logs_default_' || to_char(first, 'YYYYMMDD')
$$;

CREATE OR REPLACE FUNCTION gate_log_default_part(first date, beyond date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gate_log_default(
        to_regclass('logs_default_future'), first, beyond, format('event_time >= %L', log_day_begin(beyond)));
END
$$;

CREATE OR REPLACE FUNCTION fill_log_default_part(first date, beyond date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE %I (LIKE logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES, '
        'CONSTRAINT part_bounds CHECK (event_time >= %L AND event_time < %L))',
        log_default_part_name(first), log_day_begin(first), log_day_begin(beyond));
    EXECUTE format(
        'WITH moved AS (DELETE FROM logs_default_future WHERE event_time < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
        log_day_begin(beyond), log_default_part_name(first));
END
$$;

CREATE OR REPLACE FUNCTION validate_log_default_part(first date, beyond date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE logs_default_future VALIDATE CONSTRAINT %I', log_gate_name(first, beyond));
END
$$;

CREATE OR REPLACE FUNCTION open_log_default_part(first date, beyond date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM open_log_gate(to_regclass('logs_default_future'), first, beyond);
END
$$;

CREATE OR REPLACE FUNCTION attach_log_default_part(first date, beyond date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE logs_default DETACH PARTITION logs_default_future;
    EXECUTE format(
        'ALTER TABLE logs_default ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        log_default_part_name(first), log_day_begin(first), log_day_begin(beyond));
    EXECUTE format(
        'ALTER TABLE logs_default ATTACH PARTITION logs_default_future FOR VALUES FROM (%L) TO (MAXVALUE)', log_day_begin(beyond));
    EXECUTE format('DROP TRIGGER %I ON logs_default_future', log_gate_name(first, beyond));
    ALTER TABLE logs_default_future DROP CONSTRAINT part_bounds;
    EXECUTE format('ALTER TABLE logs_default_future RENAME CONSTRAINT %I TO part_bounds', log_gate_name(first, beyond));
END
$$;
