-- Verification that takes time: a row of verify_run is one stay in VERIFYING,
-- verify_checkpoint one evaluation of it; and a run of the executor that only
-- rolls back, for a verification that failed.

-- owner, epoch and lease_until fence it as they do exec_run: a later write names
-- the epoch. next_at is when the next evaluation is due; nobody waits for it.
CREATE TABLE aegis.verify_run (
    tenant      text        COLLATE "C" NOT NULL,
    case_id     uuid        NOT NULL,
    verify_id   uuid        NOT NULL,
    plan_id     uuid        NOT NULL,
    for_version int         NOT NULL,
    state       text        NOT NULL DEFAULT 'RUNNING' CHECK (state IN
                ('RUNNING', 'ROLLBACK', 'PASSED', 'FAILED', 'INCONCLUSIVE', 'CANCELLED')),
    outcome     text        NOT NULL DEFAULT '',  -- pass, failed or inconclusive; '' until it is known
    reason      text        NOT NULL DEFAULT '',
    evaluations int         NOT NULL DEFAULT 0,
    progress    json        NOT NULL DEFAULT '[]', -- of each check
    next_at     timestamptz NOT NULL DEFAULT now(),
    deadline_at timestamptz NOT NULL,
    rollback_exec_id uuid,
    owner       text        NOT NULL DEFAULT '',
    epoch       int         NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    correlation_id text     NOT NULL DEFAULT '',
    traceparent text        NOT NULL DEFAULT '',
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant, case_id, verify_id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX verify_run_id ON aegis.verify_run (tenant, verify_id);
CREATE UNIQUE INDEX verify_run_version ON aegis.verify_run (tenant, case_id, for_version);
CREATE INDEX verify_run_due ON aegis.verify_run (next_at) WHERE state IN ('RUNNING', 'ROLLBACK');

-- passed is true of a verdict only, which is what lets a case be closed.
ALTER TABLE aegis.verify_checkpoint
    ADD COLUMN verify_id  uuid,
    ADD COLUMN evaluation int     NOT NULL DEFAULT 1,
    ADD COLUMN outcome    text    NOT NULL DEFAULT '',
    ADD COLUMN final      boolean NOT NULL DEFAULT true;
CREATE INDEX verify_checkpoint_run ON aegis.verify_checkpoint (tenant, verify_id, evaluation);

ALTER TABLE aegis.exec_run ADD COLUMN phase text NOT NULL DEFAULT 'step'
    CHECK (phase IN ('step', 'rollback'));

DO $$
DECLARE seen constant text :=
    $q$strpos(current_setting('aegis.tenants', true), E'\x1f' || tenant || E'\x1f') > 0$q$;
BEGIN
    ALTER TABLE aegis.verify_run ENABLE ROW LEVEL SECURITY;
    ALTER TABLE aegis.verify_run FORCE ROW LEVEL SECURITY;
    EXECUTE format('CREATE POLICY tenant_gateway ON aegis.verify_run TO aegis_gateway USING (%s)', seen);
    EXECUTE format('CREATE POLICY tenant_worker ON aegis.verify_run TO aegis_worker USING (%s OR %s)',
                   seen, $q$current_setting('aegis.tenants', true) = '*'$q$);
    CREATE POLICY tenant_all ON aegis.verify_run TO aegis_migrator USING (true);
    CREATE POLICY tenant_read ON aegis.verify_run FOR SELECT TO aegis_reader USING (true);
END $$;
