-- What a run of the executor knows beside its steps: who cancelled it, what it
-- waits for, and where the outputs of its steps are.

-- Objects in the object store, by reference: the sensor's and the executor's.
CREATE TABLE aegis.oo_locator (
    tenant      text        NOT NULL,
    locator_id  uuid        NOT NULL,
    dataset     text        NOT NULL,            -- exec.stdout, exec.stderr, logs, …
    bucket      text        NOT NULL,            -- file: the local folder; else the bucket's name
    object_key  text        NOT NULL,
    t_from      timestamptz NOT NULL,
    t_to        timestamptz NOT NULL,
    query_hint  text        NOT NULL DEFAULT '', -- how to find the interesting part again
    bytes       bigint,
    case_id     uuid,                            -- of which case, when it is of one
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, locator_id)
);
CREATE INDEX oo_locator_case ON aegis.oo_locator (tenant, case_id) WHERE case_id IS NOT NULL;

-- cancel_by is who asked for the end of the run; '' until somebody does. dry:
-- the steps are checked, nothing acts, and no fact moves the case.
ALTER TABLE aegis.exec_run
    ADD COLUMN dry             boolean NOT NULL DEFAULT false,
    ADD COLUMN cancel_by       text    NOT NULL DEFAULT '',
    ADD COLUMN cancel_reason   text    NOT NULL DEFAULT '',
    ADD COLUMN cancel_rollback boolean NOT NULL DEFAULT false,
    ADD COLUMN waiting_for     text    NOT NULL DEFAULT '';
CREATE INDEX exec_run_cancel ON aegis.exec_run (owner)
    WHERE state = 'RUNNING' AND cancel_by <> '';
DROP INDEX aegis.exec_run_version;
CREATE UNIQUE INDEX exec_run_version ON aegis.exec_run (tenant, case_id, for_version) WHERE NOT dry;

-- target: what the step acts upon, for the limit of exec.per_target. output:
-- {"stdout": {locator_id, bucket, key, bytes, lost, tail}, "stderr": …}.
ALTER TABLE aegis.exec_step
    ADD COLUMN target text NOT NULL DEFAULT '',
    ADD COLUMN final  boolean NOT NULL DEFAULT false,   -- retrying is no use
    ADD COLUMN output json,
    ADD COLUMN result json,
    DROP CONSTRAINT exec_step_phase_check,
    ADD CONSTRAINT exec_step_phase_check CHECK (phase IN ('check', 'step', 'rollback'));
CREATE INDEX exec_step_target ON aegis.exec_step (target)
    WHERE state = 'RUNNING' AND target <> '';

DO $$
DECLARE seen constant text :=
    $q$strpos(current_setting('aegis.tenants', true), E'\x1f' || tenant || E'\x1f') > 0$q$;
BEGIN
    ALTER TABLE aegis.oo_locator ENABLE ROW LEVEL SECURITY;
    ALTER TABLE aegis.oo_locator FORCE ROW LEVEL SECURITY;
    EXECUTE format('CREATE POLICY tenant_gateway ON aegis.oo_locator TO aegis_gateway USING (%s)', seen);
    EXECUTE format('CREATE POLICY tenant_worker ON aegis.oo_locator TO aegis_worker USING (%s OR %s)',
                   seen, $q$current_setting('aegis.tenants', true) = '*'$q$);
    CREATE POLICY tenant_all ON aegis.oo_locator TO aegis_migrator USING (true);
    CREATE POLICY tenant_read ON aegis.oo_locator FOR SELECT TO aegis_reader USING (true);
END $$;
