-- What a lane of the journal has to keep: samples of open minutes are in batches
-- that are folded for the rest. open_minute: the first minute (of 60 s since 1970)
-- that is not in the tables; kept: batches up to this one are not needed any more.
ALTER TABLE aegis.ingest_lane
    ADD COLUMN open_minute bigint NOT NULL DEFAULT 0,
    ADD COLUMN kept        bigint NOT NULL DEFAULT 0,
    DROP COLUMN shipped;
