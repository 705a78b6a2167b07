-- The store. Run by `python -m consumer.schema`, safe to run again.

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
COMMENT ON TABLE consumer_offsets IS 'How far each partition is durable, written with the rows; a stale generation is refused.';
COMMENT ON COLUMN consumer_offsets.stamp IS 'New with every write: a writer that does not find its last one knows that the database was set back.';

CREATE SEQUENCE IF NOT EXISTS consumer_generation;

-- Tells one database from another: Redis' memory of one that was thrown away must not be believed for its successor.
CREATE TABLE IF NOT EXISTS store_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id       uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO store_identity DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Gives a day its partition. Rows that went to the default partition before the day came near are moved.
CREATE OR REPLACE FUNCTION ensure_log_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := 'logs_' || to_char(day, 'YYYYMMDD');
    first timestamptz := day::timestamp AT TIME ZONE 'UTC';
    next timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_log_partition'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    -- In the order in which inserts take them, so that the two cannot deadlock.
    LOCK TABLE logs IN SHARE UPDATE EXCLUSIVE MODE;
    LOCK TABLE logs_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM logs_default WHERE event_time >= %L AND event_time < %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', first, next, name);
    EXECUTE format('ALTER TABLE logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, next);
END
$$;
