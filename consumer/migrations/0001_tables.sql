-- The tables as releases before the numbered migrations made them. Safe on a database that has them: CREATE ... IF NOT EXISTS.

CREATE TABLE IF NOT EXISTS logs (
    event_id       uuid        NOT NULL,
    event_time     timestamptz NOT NULL,
    seq            bigint      GENERATED ALWAYS AS IDENTITY,
    service_name   text        NOT NULL,
    level          text        NOT NULL,
    message        text        NOT NULL,
    correlation_id text        NOT NULL,
    attributes     jsonb       NOT NULL,
    origin_region  text        NOT NULL,
    received_at    timestamptz NOT NULL,
    stored_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    stored_by      text        NOT NULL,
    late           boolean     NOT NULL,
    late_by_ms     bigint,
    late_reason    text,
    -- The final word on "exactly once".
    PRIMARY KEY (event_time, event_id),
    CHECK (late = (late_reason IS NOT NULL) AND late = (late_by_ms IS NOT NULL))
) PARTITION BY RANGE (event_time);

CREATE INDEX IF NOT EXISTS logs_correlation ON logs (correlation_id, event_time);
CREATE INDEX IF NOT EXISTS logs_service ON logs (service_name, level, event_time);
CREATE INDEX IF NOT EXISTS logs_seq ON logs USING brin (seq);

-- Days too far in the past or future for a partition of their own. Without it one client that sends events for every day
-- since 1970 would make 20,000 partitions.
CREATE TABLE IF NOT EXISTS logs_default PARTITION OF logs DEFAULT;

COMMENT ON TABLE logs IS 'Every log event once; rows of one stored_by with late = false are in event-time order by seq.';
COMMENT ON COLUMN logs.stored_by IS 'region/instance/generation of the consumer, and behind these the order where there are several: a mirrored region, or region/number of partitions that could not keep up. The generation changes with every partition assignment.';
COMMENT ON COLUMN logs.late_by_ms IS 'Watermark minus event time on arrival; for clock_skew event time minus receipt (minus the other clocks where the gateway''s is ahead of them).';

CREATE TABLE IF NOT EXISTS consumer_offsets (
    consumer_group text        NOT NULL,
    region         text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    next_offset    bigint,
    watermark      timestamptz,
    generation     bigint      NOT NULL,
    stamp          uuid        NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer_group, region, topic, partition)
);
-- By what the log is known again, NULL for what is not known; added later, so rows of before have none.
ALTER TABLE consumer_offsets
    ADD COLUMN IF NOT EXISTS topic_id    uuid,
    ADD COLUMN IF NOT EXISTS last_offset bigint,
    ADD COLUMN IF NOT EXISTS last_record bigint,
    ADD COLUMN IF NOT EXISTS log_end     bigint;
COMMENT ON TABLE consumer_offsets IS 'How far each partition is durable, written with the rows; a stale generation is refused.';
COMMENT ON COLUMN consumer_offsets.last_record IS 'Fingerprint of the record at last_offset, which is durable: another one there, and the log is another one.';
COMMENT ON COLUMN consumer_offsets.log_end IS 'How far the log was known to reach; what is missing of it above next_offset was never read.';
COMMENT ON COLUMN consumer_offsets.stamp IS 'New with every write: a writer that does not find its last one knows that the database was set back.';

CREATE SEQUENCE IF NOT EXISTS consumer_generation;

-- Tells one database from another: Redis' memory of one that was thrown away must not be believed for its successor.
CREATE TABLE IF NOT EXISTS store_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id       uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO store_identity DEFAULT VALUES ON CONFLICT DO NOTHING;

-- How a day gets its partition: all at once by `ensure_log_partition`, or, where the default partition is large, by one step
-- after the other, as `consumer/adapters/postgres_days.py` does it.
CREATE OR REPLACE FUNCTION log_day_name(day date) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'logs_' || to_char(day, 'YYYYMMDD')
$$;

CREATE OR REPLACE FUNCTION log_day_begin(day date) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT day::timestamp AT TIME ZONE 'UTC'
$$;

-- Is its table a part of `logs`? A table of that name which is none was detached by an operator, who has a use for it.
CREATE OR REPLACE FUNCTION has_log_partition(day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    there regclass := to_regclass(log_day_name(day));
BEGIN
    IF there IS NULL THEN
        RETURN false;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = there AND inhparent = 'logs'::regclass) THEN
        RAISE EXCEPTION '% is a table of its own: attach it, or give it another name', log_day_name(day);
    END IF;
    RETURN true;
END
$$;

-- Makes the table, and moves those rows to it that went to the default partition before the day came near.
CREATE OR REPLACE FUNCTION fill_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- With its indexes, else they are made when it is attached, while others wait.
    EXECUTE format(
        'CREATE TABLE %I (LIKE logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES, '
        'CONSTRAINT of_the_day CHECK (event_time >= %L AND event_time < %L))',
        log_day_name(day), log_day_begin(day), log_day_begin(day + 1));
    PERFORM move_from_log_default(day);
END
$$;

CREATE OR REPLACE FUNCTION move_from_log_default(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'WITH moved AS (DELETE FROM logs_default WHERE event_time >= %L AND event_time < %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', log_day_begin(day), log_day_begin(day + 1), log_day_name(day));
END
$$;

-- From here on no row of the day can go to the default partition. A consumer that has one waits until the day has its own.
CREATE OR REPLACE FUNCTION keep_out_of_log_default(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE logs_default ADD CONSTRAINT %I CHECK (event_time < %L OR event_time >= %L) NOT VALID',
        'logs_default_without_' || to_char(day, 'YYYYMMDD'), log_day_begin(day), log_day_begin(day + 1));
END
$$;

CREATE OR REPLACE FUNCTION let_into_log_default(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE logs_default DROP CONSTRAINT IF EXISTS %I', 'logs_default_without_' || to_char(day, 'YYYYMMDD'));
END
$$;

CREATE OR REPLACE FUNCTION attach_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        log_day_name(day), log_day_begin(day), log_day_begin(day + 1));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT of_the_day', log_day_name(day));
    PERFORM let_into_log_default(day);
END
$$;

CREATE OR REPLACE FUNCTION ensure_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF has_log_partition(day) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_log_partition'));
    IF has_log_partition(day) THEN
        RETURN;
    END IF;
    PERFORM fill_log_partition(day);
    -- In the order in which inserts take them, so that the two cannot deadlock.
    LOCK TABLE logs IN SHARE UPDATE EXCLUSIVE MODE;
    LOCK TABLE logs_default IN ACCESS EXCLUSIVE MODE;
    PERFORM move_from_log_default(day);  -- what came meanwhile
    PERFORM attach_log_partition(day);
END
$$;
