-- One tenant's rows are out of another's reach (row-level security, forced), and a
-- transition writes fewer indexes and compares less: on a filled table it rebuilds
-- keys, so apply it while nothing is served.

-- Tags live beside the case: they never change, and an index on a column of
-- ops_case would be written again by every transition.
CREATE TABLE aegis.case_tag (
    tenant     text        COLLATE "C" NOT NULL,
    tag        text        COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    case_id    uuid        NOT NULL,
    PRIMARY KEY (tenant, tag, created_at, case_id)
);
INSERT INTO aegis.case_tag (tenant, tag, created_at, case_id)
SELECT DISTINCT c.tenant, t.tag, c.created_at, c.case_id
  FROM aegis.ops_case c, jsonb_array_elements_text(c.tags) AS t(tag);
DROP INDEX aegis.ops_case_tags;

-- The order of these is nobody's to see, so the fastest one serves.
ALTER TABLE aegis.ops_case ALTER COLUMN tenant TYPE text COLLATE "C";
ALTER TABLE aegis.case_timeline ALTER COLUMN tenant TYPE text COLLATE "C";
ALTER TABLE aegis.idempotency ALTER COLUMN tenant TYPE text COLLATE "C",
    ALTER COLUMN principal TYPE text COLLATE "C", ALTER COLUMN key TYPE text COLLATE "C";
ALTER TABLE aegis.inbox ALTER COLUMN tenant TYPE text COLLATE "C",
    ALTER COLUMN consumer TYPE text COLLATE "C", ALTER COLUMN msg_id TYPE text COLLATE "C";

-- What differs first comes first: one comparison decides where it took three. The
-- tenant stays part of each key.
ALTER TABLE aegis.ops_case DROP CONSTRAINT ops_case_pkey, ADD PRIMARY KEY (case_id, tenant);
ALTER TABLE aegis.case_timeline DROP CONSTRAINT case_timeline_pkey,
    ADD PRIMARY KEY (case_id, tenant, version, seq);
ALTER TABLE aegis.idempotency DROP CONSTRAINT idempotency_pkey,
    ADD PRIMARY KEY (key, tenant, principal, day);
ALTER TABLE aegis.inbox DROP CONSTRAINT inbox_pkey,
    ADD PRIMARY KEY (msg_id, tenant, consumer, day);

-- No index holds the state, so that a transition changes no index at all (HOT).
-- A page of one state walks the tenant's open cases; closed ones, most of the
-- table for ever, are not among them.
ALTER TABLE aegis.ops_case ADD COLUMN closed boolean NOT NULL DEFAULT false;
UPDATE aegis.ops_case SET closed = true WHERE status = 'CLOSED';
DROP INDEX aegis.ops_case_open;
CREATE INDEX ops_case_open ON aegis.ops_case (tenant, created_at DESC, case_id DESC)
    WHERE NOT closed;

-- A transaction says for whom it acts (aegis.act_for); without that it sees no
-- row. '*' stands for all tenants, and only workers may mean it: relay,
-- reconciler and executors serve every tenant. The owner and the reader of
-- dashboards are people who may see everything.
DO $$
DECLARE t text; seen constant text :=
    $q$strpos(current_setting('aegis.tenants', true), E'\x1f' || tenant || E'\x1f') > 0$q$;
BEGIN
    FOREACH t IN ARRAY ARRAY['ops_case', 'case_tag', 'case_timeline', 'outbox', 'inbox',
        'idempotency', 'dead_letter', 'plan_proposed', 'gate_decision', 'plan_approved',
        'exec_run', 'exec_step', 'verify_checkpoint', 'metric_1m', 'event_envelope',
        'evidence_link']
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

-- The json that goes out, as types: one call makes each of them.
CREATE TYPE aegis.case_view AS (case_id uuid, tenant text, status text, version int, title text,
    kind text, severity text, mode text, tags jsonb, labels jsonb, plan_id uuid, exec_id uuid,
    reason text, correlation_id text, created_at timestamptz, updated_at timestamptz);
CREATE TYPE aegis.created_fact AS (case_id uuid, tenant text, case_version int, title text,
    kind text, severity text, mode text, tags json, labels json, actor text,
    correlation_id text, at timestamptz);
CREATE TYPE aegis.transition_fact AS (case_id uuid, tenant text, case_version int, event text,
    from_status text, to_status text, rule int, actor text, reason text,
    correlation_id text, at timestamptz);
CREATE TYPE aegis.command_data AS (case_id uuid, tenant text, case_version int, plan_id uuid,
    exec_id uuid, correlation_id text);

-- What entering the state asks for, beside the rule that enters it: one look-up
-- less in each transition. sql/generated/fsm.sql fills it.
ALTER TABLE aegis.fsm_transition ADD COLUMN command text NOT NULL DEFAULT '';
