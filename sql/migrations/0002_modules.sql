-- The tables of the modules: each is written by its module alone.
-- for_version is the case version whose command asked for the artefact; it
-- ties an artefact to one stay of the case in one state.

CREATE TABLE aegis.plan_proposed (
    tenant      text        NOT NULL,
    case_id     uuid        NOT NULL,
    revision    int         NOT NULL,
    plan_id     uuid        NOT NULL,
    for_version int         NOT NULL,
    template    text        NOT NULL DEFAULT '',
    hash        text        NOT NULL,            -- sha256 of the canonical plan, hex
    complete    boolean     NOT NULL,
    missing     json        NOT NULL DEFAULT '[]',
    risk_score  double precision NOT NULL DEFAULT 0,
    plan        json        NOT NULL,
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, case_id, revision)
);
CREATE UNIQUE INDEX plan_proposed_id ON aegis.plan_proposed (tenant, plan_id);

-- The policy in force: the newest row. The gate role loads conf/policy.yaml
-- into it, so that the gateway's POST /gate/eval judges by the same one.
CREATE TABLE aegis.gate_policy (
    revision  bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    hash      text        NOT NULL,
    body      json        NOT NULL,
    source    text        NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE aegis.gate_decision (
    tenant      text        NOT NULL,
    case_id     uuid        NOT NULL,
    decision_id uuid        NOT NULL,
    plan_id     uuid        NOT NULL,
    plan_hash   text        NOT NULL,
    for_version int         NOT NULL,
    verdict     text        NOT NULL CHECK (verdict IN ('approved', 'rejected')),
    rule        text        NOT NULL,            -- id of the policy rule that decided
    reason      text        NOT NULL,
    checks      json        NOT NULL,            -- every rule looked at, with its finding
    policy_hash text        NOT NULL,
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, case_id, decision_id)
);
CREATE INDEX gate_decision_version ON aegis.gate_decision (tenant, case_id, for_version);

CREATE TABLE aegis.plan_approved (
    tenant      text        NOT NULL,
    case_id     uuid        NOT NULL,
    plan_id     uuid        NOT NULL,
    decision_id uuid        NOT NULL,
    plan_hash   text        NOT NULL,
    not_before  timestamptz NOT NULL,            -- the approval holds in [not_before, not_after)
    not_after   timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, case_id, plan_id, decision_id)
);

-- One run per stay in EXECUTING. owner, epoch and lease_until fence it: every
-- later write names the epoch and changes nothing when it is not the row's.
CREATE TABLE aegis.exec_run (
    tenant      text        NOT NULL,
    case_id     uuid        NOT NULL,
    exec_id     uuid        NOT NULL,
    plan_id     uuid        NOT NULL,
    for_version int         NOT NULL,
    state       text        NOT NULL DEFAULT 'QUEUED'
                CHECK (state IN ('QUEUED', 'RUNNING', 'DONE', 'FAILED', 'CANCELLED')),
    reason      text        NOT NULL DEFAULT '',
    owner       text        NOT NULL DEFAULT '',
    epoch       int         NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    correlation_id text     NOT NULL DEFAULT '',
    traceparent text        NOT NULL DEFAULT '',
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (tenant, case_id, exec_id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX exec_run_id ON aegis.exec_run (tenant, exec_id);
CREATE UNIQUE INDEX exec_run_version ON aegis.exec_run (tenant, case_id, for_version);
CREATE INDEX exec_run_open ON aegis.exec_run (lease_until) WHERE state IN ('QUEUED', 'RUNNING');

-- A step's row is committed as RUNNING (the intent) before anything acts, and
-- its outcome after. token names the attempt towards the adapter.
CREATE TABLE aegis.exec_step (
    tenant      text        NOT NULL,
    case_id     uuid        NOT NULL,
    exec_id     uuid        NOT NULL,
    phase       text        NOT NULL CHECK (phase IN ('step', 'rollback')),
    step_no     int         NOT NULL,
    attempt     int         NOT NULL,
    action      text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('RUNNING', 'OK', 'FAILED', 'TIMEOUT', 'UNKNOWN')),
    retry_safe  boolean     NOT NULL,
    token       text        NOT NULL,
    exit_code   int,
    error       text        NOT NULL DEFAULT '',
    stdout_ref  text        NOT NULL DEFAULT '',
    stderr_ref  text        NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant, exec_id, phase, step_no, attempt)
);

CREATE TABLE aegis.verify_checkpoint (
    tenant        text        NOT NULL,
    case_id       uuid        NOT NULL,
    checkpoint_id uuid        NOT NULL,
    plan_id       uuid        NOT NULL,
    for_version   int         NOT NULL,
    passed        boolean     NOT NULL,
    checks        json        NOT NULL,          -- every check with what was measured
    reason        text        NOT NULL,
    created_by    text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, case_id, checkpoint_id)
);
CREATE INDEX verify_checkpoint_version ON aegis.verify_checkpoint (tenant, case_id, for_version);

-- Aggregates that the sensor side writes and the verifier and analyst read.
CREATE TABLE aegis.metric_1m (
    tenant   text        NOT NULL,
    resource text        NOT NULL,               -- URN, urn:k8s:svc:ns/name
    metric   text        NOT NULL,
    bucket   timestamptz NOT NULL,
    samples  int         NOT NULL DEFAULT 1,
    avg      double precision,
    max      double precision,
    p95      double precision,
    labels   jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant, resource, metric, bucket)
) PARTITION BY RANGE (bucket);
CREATE TABLE aegis.metric_1m_default PARTITION OF aegis.metric_1m DEFAULT;

CREATE TABLE aegis.event_envelope (
    tenant      text        NOT NULL,
    case_id     uuid        NOT NULL,
    event_id    uuid        NOT NULL,
    for_version int         NOT NULL,
    severity    text        NOT NULL,
    kind        text        NOT NULL,
    title       text        NOT NULL,
    summary     text        NOT NULL,
    labels      json        NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, case_id, event_id)
);
CREATE INDEX event_envelope_version ON aegis.event_envelope (tenant, case_id, for_version);

CREATE TABLE aegis.evidence_link (
    tenant     text        NOT NULL,
    case_id    uuid        NOT NULL,
    event_id   uuid        NOT NULL,
    link_no    int         NOT NULL,
    ref        text        NOT NULL,             -- metric_1m:<resource>/<metric>@<from>/<to> and the like
    note       text        NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, case_id, event_id, link_no)
);
