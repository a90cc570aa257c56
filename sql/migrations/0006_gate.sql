-- The gatekeeper asks people: what waits for approval, and who said what. It adds
-- an index to gate_decision: on a filled table apply it while little is served.

ALTER TABLE aegis.gate_decision
    DROP CONSTRAINT gate_decision_verdict_check,
    ADD CONSTRAINT gate_decision_verdict_check
        CHECK (verdict IN ('approved', 'rejected', 'needs_approval', 'expired')),
    -- whose decision it is: only the policy's own are automatic
    ADD COLUMN source  text NOT NULL DEFAULT 'policy'
        CHECK (source IN ('policy', 'people', 'clock')),
    ADD COLUMN service text NOT NULL DEFAULT '';    -- the case's label, for rules of kind rate
-- What rules of kind rate count.
CREATE INDEX gate_decision_rate ON aegis.gate_decision (tenant, created_at)
    WHERE verdict = 'approved' AND source = 'policy';

-- The rules of kind rate, beside the policy: each evaluation asks for them.
ALTER TABLE aegis.gate_policy ADD COLUMN rates json NOT NULL DEFAULT '[]';

-- A question to people about one plan, for one stay of the case at the gate. It has
-- the id of the decision that asked. Needs and proposers are as they were then.
CREATE TABLE aegis.gate_request (
    tenant      text        COLLATE "C" NOT NULL,
    case_id     uuid        NOT NULL,
    request_id  uuid        NOT NULL,
    plan_id     uuid        NOT NULL,
    plan_hash   text        NOT NULL,
    for_version int         NOT NULL,
    rule        text        NOT NULL,
    needs       json        NOT NULL,
    proposers   json        NOT NULL,
    expires_at  timestamptz NOT NULL,
    state       text        NOT NULL DEFAULT 'OPEN' CHECK (state IN
                ('OPEN', 'APPROVED', 'DENIED', 'REFUSED', 'EXPIRED', 'SUPERSEDED')),
    decision_id uuid,                                -- the one that closed it
    created_at  timestamptz NOT NULL DEFAULT now(),
    closed_at   timestamptz,
    PRIMARY KEY (case_id, tenant, request_id)
);
-- One question at a time, whoever evaluates.
CREATE UNIQUE INDEX gate_request_one ON aegis.gate_request (case_id, tenant, for_version)
    WHERE state = 'OPEN';
CREATE INDEX gate_request_open ON aegis.gate_request (tenant, created_at, request_id)
    WHERE state = 'OPEN';
CREATE INDEX gate_request_due ON aegis.gate_request (expires_at) WHERE state = 'OPEN';

-- Voices are only ever added; one principal says each thing once.
CREATE TABLE aegis.gate_vote (
    tenant     text        COLLATE "C" NOT NULL,
    case_id    uuid        NOT NULL,
    request_id uuid        NOT NULL,
    principal  text        NOT NULL,
    verdict    text        NOT NULL CHECK (verdict IN ('approve', 'deny')),
    counts     json        NOT NULL,                 -- ids of the rules that it counts for
    comment    text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (case_id, tenant, request_id, principal, verdict)
);

DO $$
DECLARE t text; seen constant text :=
    $q$strpos(current_setting('aegis.tenants', true), E'\x1f' || tenant || E'\x1f') > 0$q$;
BEGIN
    FOREACH t IN ARRAY ARRAY['gate_request', 'gate_vote']
    LOOP
        EXECUTE format('ALTER TABLE aegis.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE aegis.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY tenant_gateway ON aegis.%I TO aegis_gateway USING (%s)', t, seen);
        EXECUTE format('CREATE POLICY tenant_worker ON aegis.%I TO aegis_worker USING (%s OR %s)',
                       t, seen, $q$current_setting('aegis.tenants', true) = '*'$q$);
        EXECUTE format('CREATE POLICY tenant_all ON aegis.%I TO aegis_migrator USING (true)', t);
        EXECUTE format('CREATE POLICY tenant_read ON aegis.%I FOR SELECT TO aegis_reader USING (true)', t);
    END LOOP;
END $$;
