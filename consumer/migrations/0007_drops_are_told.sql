-- What went with a day that was dropped, so that a tail that had not read all of it says so
-- (docs/decisions/0055-a-drop-is-told-to-tails.md).

-- A few lines a day. They stay: a tail may come back with a position of any age.
CREATE TABLE dropped_days (
    tenant_id  smallint    NOT NULL,
    number     bigint      NOT NULL,
    generation bigint      NOT NULL,
    day        date        NOT NULL,
    last_seq   bigint      NOT NULL,
    rows       bigint      NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, number, generation)
);
COMMENT ON TABLE dropped_days IS 'Of each drop of a day, by tenant: the highest seq of each generation''s rows. Who sees a number sees all lower ones.';
COMMENT ON COLUMN dropped_days.generation IS 'The third part of stored_by; -1 of rows that have none.';

-- A reader sees what its tenant lost.
CREATE VIEW tenant_dropped_days AS
    SELECT number, day, generation, last_seq FROM dropped_days WHERE tenant_id = (SELECT current_setting('app.tenant')::smallint);

-- As before, and with the rows their line goes into the table above, or neither.
CREATE OR REPLACE FUNCTION empty_log_day(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := log_day_that_may_go(day);
BEGIN
    -- No transaction that writes to the day is in flight, nor begins. Its readers go on.
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE MODE', name);
    -- Two drops get their numbers in the order in which they are seen.
    LOCK TABLE dropped_days IN SHARE ROW EXCLUSIVE MODE;
    EXECUTE format(
        'INSERT INTO dropped_days (tenant_id, number, generation, day, last_seq, rows) '
        'SELECT tenant_id, (SELECT coalesce(max(number), 0) + 1 FROM dropped_days), '
        'CASE WHEN writer ~ ''^[0-9]{1,18}$'' THEN writer::bigint ELSE -1 END AS generation, $1, max(last_seq), sum(rows) '
        'FROM (SELECT tenant_id, split_part(stored_by, ''/'', 3) AS writer, max(seq) AS last_seq, count(*) AS rows '
        'FROM ONLY %I GROUP BY tenant_id, stored_by) AS found GROUP BY tenant_id, generation', name) USING day;
    EXECUTE format('TRUNCATE ONLY %I', name);
END
$$;
