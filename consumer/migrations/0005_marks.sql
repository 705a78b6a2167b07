-- How far each writer's rows are complete, so that a reader can follow them in write order and miss none
-- (docs/decisions/0040-a-tail-by-writers-marks.md), and the indexes for that and for an event by its id alone.

CREATE TABLE writers (
    generation bigint      PRIMARY KEY,
    last_seq   bigint      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE writers IS 'Who sees last_seq sees all rows of this generation with seq <= last_seq. A generation that is over has no line.';

-- What a reader of the rows may know of their writers. A generation without a mark is of a release that wrote none.
CREATE VIEW log_writers AS
    SELECT (SELECT id FROM store_identity) AS store_id, generation, last_seq FROM writers
    UNION ALL
    SELECT DISTINCT (SELECT id FROM store_identity), o.generation, NULL::bigint
    FROM consumer_offsets AS o WHERE NOT EXISTS (SELECT FROM writers AS w WHERE w.generation = o.generation);

-- The index by `seq` gets the name of the one that it takes the place of when it is whole (`consumer/adapters/postgres_indexes.py`).
CREATE INDEX logs_seq_order ON ONLY logs (seq);
-- 1,250 ids in a filter of 1.5 KiB for each 256 KiB of the table; one in a hundred is read in vain. An index has the beginning of its
-- table summarised from the first, and each row there writes the filter anew: with 6 KiB for each MiB that cost a new day 0.4 s.
CREATE INDEX logs_event_id ON ONLY logs
    USING brin (event_id uuid_bloom_ops (n_distinct_per_range = 1250, false_positive_rate = 0.01)) WITH (pages_per_range = 32, autosummarize = on);

-- No transaction that writes is in flight now: all wait for the indexes' lock, or have ended. So all rows so far are seen, and those of
-- consumers of an earlier release from here on are told from them by their `seq`.
INSERT INTO writers (generation, last_seq)
SELECT g.generation, s.last_value - (NOT s.is_called)::int
FROM logs_seq_seq AS s, (SELECT 0 AS generation UNION SELECT generation FROM consumer_offsets) AS g;
