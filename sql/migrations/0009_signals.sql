-- Signals: what senders report, as aggregates by minute and five minutes, with
-- the way back to the bytes. The sensor writes these tables, the analyst reads.

-- One row a series and minute. series tells the label sets of one metric of one
-- resource apart (0: it has but one); labels are those that the resource's name
-- does not say. sketch counts values by magnitude, 6 bytes a bin
-- (aegis.sketch_merge), so that late samples can be added to a p95.
ALTER TABLE aegis.metric_1m
    ADD COLUMN series bigint NOT NULL DEFAULT 0,
    ADD COLUMN sketch bytea,
    DROP CONSTRAINT metric_1m_pkey,
    ADD PRIMARY KEY (tenant, resource, metric, bucket, series);

-- Calls between two services (URNs), from spans.
CREATE TABLE aegis.service_call_5m (
    tenant   text        COLLATE "C" NOT NULL,
    caller   text        NOT NULL,
    callee   text        NOT NULL,
    bucket   timestamptz NOT NULL,
    calls    bigint      NOT NULL,
    errors   bigint      NOT NULL DEFAULT 0,
    rps      double precision NOT NULL,
    err_rate double precision NOT NULL,
    p50      double precision,                   -- milliseconds
    p95      double precision,
    sketch   bytea,
    PRIMARY KEY (tenant, caller, callee, bucket)
) PARTITION BY RANGE (bucket);
CREATE TABLE aegis.service_call_5m_default PARTITION OF aegis.service_call_5m DEFAULT;

-- What lines of logs have in common. fingerprint is of the template alone, so it
-- is the same on every host and after a restart; sample is the first line seen.
CREATE TABLE aegis.log_pattern (
    tenant      text        COLLATE "C" NOT NULL,
    resource    text        NOT NULL,
    fingerprint text        NOT NULL,
    template    text        NOT NULL,
    severity    text        NOT NULL DEFAULT '', -- the worst seen: error, warn, info, debug or ''
    sample      text        NOT NULL,
    locator_id  uuid,
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    total       bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, resource, fingerprint)
) WITH (fillfactor = 80);
CREATE INDEX log_pattern_first ON aegis.log_pattern (tenant, first_seen);

CREATE TABLE aegis.log_pattern_5m (
    tenant      text        COLLATE "C" NOT NULL,
    resource    text        NOT NULL,
    fingerprint text        NOT NULL,
    bucket      timestamptz NOT NULL,
    count       bigint      NOT NULL,
    PRIMARY KEY (tenant, resource, fingerprint, bucket)
) PARTITION BY RANGE (bucket);
CREATE TABLE aegis.log_pattern_5m_default PARTITION OF aegis.log_pattern_5m DEFAULT;

CREATE INDEX service_call_5m_bucket ON aegis.service_call_5m (tenant, bucket);
CREATE INDEX log_pattern_5m_bucket ON aegis.log_pattern_5m (tenant, bucket);

-- Dimensions: who and what has ever reported.
CREATE TABLE aegis.dim_tenant (
    tenant     text        COLLATE "C" PRIMARY KEY,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE aegis.dim_resource (
    tenant     text        COLLATE "C" NOT NULL,
    resource   text        NOT NULL,             -- URN, urn:k8s:svc:ns/name
    kind       text        NOT NULL DEFAULT '',  -- svc, pod, node, host, job: the URN's third part
    name       text        NOT NULL DEFAULT '',
    labels     jsonb       NOT NULL DEFAULT '{}',
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, resource)
);

-- What senders say happened: alerts, Kubernetes events, CloudEvents. The analyst
-- makes findings of them (aegis.signal_take); taken_at is NULL until then. One row
-- an occurrence: an alert that is sent again with the same state is the same row.
CREATE TABLE aegis.signal_event (
    tenant      text        COLLATE "C" NOT NULL,
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    source      text        NOT NULL CHECK (source IN ('alertmanager', 'kubernetes', 'cloudevents')),
    dedupe      text        NOT NULL,            -- of the sender: fingerprint, uid, source and id
    state       text        NOT NULL CHECK (state IN ('firing', 'resolved', 'info')),
    fingerprint text        NOT NULL,            -- the same for each occurrence of one problem
    severity    text        NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    kind        text        NOT NULL,            -- alertname, reason or type
    resource    text        NOT NULL DEFAULT '',
    title       text        NOT NULL,
    summary     text        NOT NULL DEFAULT '',
    labels      jsonb       NOT NULL DEFAULT '{}',
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz,
    count       bigint      NOT NULL DEFAULT 1,
    received_at timestamptz NOT NULL DEFAULT now(),
    taken_at    timestamptz,
    PRIMARY KEY (tenant, source, dedupe, state, starts_at)
);
CREATE UNIQUE INDEX signal_event_id ON aegis.signal_event (tenant, id);
CREATE INDEX signal_event_new ON aegis.signal_event (id) WHERE taken_at IS NULL;

-- The journal: what was accepted, as it came, until it is in the aggregates and in
-- the object store. A lane is one sensor's; epoch fences who lost it. folded: every
-- batch up to this seq is in the aggregates.
CREATE TABLE aegis.ingest_lane (
    lane       int         PRIMARY KEY,
    epoch      bigint      NOT NULL DEFAULT 0,
    owner      text        NOT NULL DEFAULT '',
    folded     bigint      NOT NULL DEFAULT 0,
    shipped    bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE TABLE aegis.ingest_journal (
    lane       int         NOT NULL,
    seq        bigint      NOT NULL,
    tenant     text        COLLATE "C" NOT NULL,
    kind       text        NOT NULL,             -- decoder: prw1, otlp-metrics-json, ...
    encoding   text        NOT NULL DEFAULT '',  -- of the body: '', gzip, snappy
    body       bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
-- it comes compressed
ALTER TABLE aegis.ingest_journal ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE INDEX oo_locator_time ON aegis.oo_locator (tenant, dataset, t_from);

DO $$
DECLARE t text; seen constant text :=
    $q$strpos(current_setting('aegis.tenants', true), E'\x1f' || tenant || E'\x1f') > 0$q$;
BEGIN
    FOREACH t IN ARRAY ARRAY['service_call_5m', 'log_pattern', 'log_pattern_5m', 'dim_tenant',
        'dim_resource', 'signal_event', 'ingest_journal']
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
