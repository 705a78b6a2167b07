-- The default partition in parts: all that is older than the days, a part for each month, and all that is to come.
--
-- When a day gets its partition, PostgreSQL looks in the default one for rows of it, under a lock. It skips each part whose
-- CHECK says that it has none. So old rows, however many, are never read again. The table that was the default partition
-- becomes the first part; no row of it is moved but those of younger days.

-- step: rows of younger days wait until their parts are there
DO $$
DECLARE
    first date;
    begun text;
BEGIN
    -- In parts already, or begun by a run that was killed.
    IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('logs_default') AND relkind = 'p') OR EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('logs_default') AND conname ~ '^logs_default_without_[0-9]{8}_99991231$'
    ) THEN
        RETURN;
    END IF;
    -- Days of the last month get a partition when rows of them come, so they must not be in the part that is never read again.
    SELECT least(min(to_date(substr(c.relname, 6), 'YYYYMMDD')), (now() AT TIME ZONE 'UTC')::date - 31) INTO first
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass('logs') AND c.relname ~ '^logs_[0-9]{8}$';
    LOCK TABLE logs_default IN ACCESS EXCLUSIVE MODE;
    -- A day that an earlier release began, and did not end, is begun anew.
    FOR begun IN
        SELECT conname FROM pg_constraint
        WHERE conrelid = to_regclass('logs_default') AND conname ~ '^logs_default_without_[0-9]{8}$'
    LOOP
        EXECUTE format('ALTER TABLE logs_default DROP CONSTRAINT %I', begun);
    END LOOP;
    PERFORM gate_log_default(to_regclass('logs_default'), first, '9999-12-31', format('event_time < %L', log_day_begin(first)));
END
$$;

-- step: the parts take the place of the table
DO $$
DECLARE
    gate text;
    first date;
    beyond date;
    index record;
BEGIN
    SELECT conname INTO gate FROM pg_constraint
    WHERE conrelid = to_regclass('logs_default') AND conname ~ '^logs_default_without_[0-9]{8}_99991231$';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    first := to_date(substring(gate FROM '[0-9]{8}'), 'YYYYMMDD');
    CREATE TABLE logs_default_new (LIKE logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)
        PARTITION BY RANGE (event_time);
    -- Days before the last month get no partition any more, so one part will do for what is between them.
    beyond := date_trunc('month', now() AT TIME ZONE 'UTC' - interval '31 days');
    WHILE first < date_trunc('month', now() AT TIME ZONE 'UTC' + interval '93 days') LOOP
        IF beyond <= first THEN
            beyond := date_trunc('month', first) + interval '1 month';
        END IF;
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF logs_default_new (CONSTRAINT part_bounds CHECK (event_time >= %2$L AND event_time < %3$L)) '
            'FOR VALUES FROM (%2$L) TO (%3$L)',
            'logs_default_' || to_char(first, 'YYYYMMDD'), log_day_begin(first), log_day_begin(beyond));
        first := beyond;
    END LOOP;
    EXECUTE format(
        'CREATE TABLE logs_default_future PARTITION OF logs_default_new (CONSTRAINT part_bounds CHECK (event_time >= %1$L)) '
        'FOR VALUES FROM (%1$L) TO (MAXVALUE)', log_day_begin(first));
    first := to_date(substring(gate FROM '[0-9]{8}'), 'YYYYMMDD');
    -- Readers see the rows in the one place or in the other: this is one transaction.
    WITH moved AS (DELETE FROM logs_default WHERE event_time >= log_day_begin(first) RETURNING *)
    INSERT INTO logs_default_new SELECT * FROM moved;
    -- Reads all of it, while all components go on.
    EXECUTE format('ALTER TABLE logs_default VALIDATE CONSTRAINT %I', gate);
    -- To read it a second time because one query was in the way would be a waste.
    FOR attempt IN 1..60 LOOP
        BEGIN
            LOCK TABLE ONLY logs IN ACCESS EXCLUSIVE MODE;
            LOCK TABLE ONLY logs_default IN ACCESS EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = 60 THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(1);
    END LOOP;
    ALTER TABLE logs DETACH PARTITION logs_default;
    ALTER TABLE logs_default RENAME TO logs_default_past;
    ALTER TABLE logs_default_new RENAME TO logs_default;
    FOR index IN SELECT relname FROM pg_class JOIN pg_index ON oid = indexrelid WHERE indrelid = to_regclass('logs_default_past') LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', index.relname, replace(index.relname, 'logs_default_', 'logs_default_past_'));
    END LOOP;
    FOR index IN SELECT relname FROM pg_class JOIN pg_index ON oid = indexrelid WHERE indrelid = to_regclass('logs_default') LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', index.relname, replace(index.relname, 'logs_default_new_', 'logs_default_'));
    END LOOP;
    EXECUTE format(
        'ALTER TABLE logs_default ATTACH PARTITION logs_default_past FOR VALUES FROM (MINVALUE) TO (%L)', log_day_begin(first));
    ALTER TABLE logs ATTACH PARTITION logs_default DEFAULT;
    EXECUTE format('DROP TRIGGER %I ON logs_default_past', gate);
    EXECUTE format('ALTER TABLE logs_default_past RENAME CONSTRAINT %I TO part_bounds', gate);
END
$$;

-- otherwise: the default partition takes all rows again
DO $$
DECLARE
    gate text;
BEGIN
    FOR gate IN
        SELECT conname FROM pg_constraint
        WHERE conrelid = to_regclass('logs_default') AND conname ~ '^logs_default_without_[0-9]{8}_99991231$'
    LOOP
        EXECUTE format('DROP TRIGGER %I ON logs_default', gate);
        EXECUTE format('ALTER TABLE logs_default DROP CONSTRAINT %I', gate);
    END LOOP;
END
$$;
