-- Findings: what the analyst saw by itself, what became of each, and how far it has
-- read. A finding is never changed once it is decided; groups are the analyst's.

-- How far each source was read: every bucket up to mark was looked at.
CREATE TABLE aegis.analyst_mark (
    source text        PRIMARY KEY CHECK (source IN ('metric', 'call', 'log')),
    mark   timestamptz NOT NULL DEFAULT '-infinity',
    passes bigint      NOT NULL DEFAULT 0,
    at     timestamptz NOT NULL DEFAULT now()
);
INSERT INTO aegis.analyst_mark (source) VALUES ('metric'), ('call'), ('log');

-- One row a series: its newest bucket, and when it is missed. state is the core's
-- (aegis_detect_pack), rewritten with every pass: two fit on a page.
CREATE TABLE aegis.analyst_series (
    tenant   text        COLLATE "C" NOT NULL,
    source   text        COLLATE "C" NOT NULL,
    resource text        COLLATE "C" NOT NULL,
    metric   text        COLLATE "C" NOT NULL,
    series   bigint      NOT NULL DEFAULT 0,
    mark     timestamptz NOT NULL,
    due      timestamptz NOT NULL DEFAULT 'infinity',
    missing  boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, source, resource, metric, series)
) WITH (fillfactor = 80);
CREATE INDEX analyst_series_due ON aegis.analyst_series (source, due) WHERE NOT missing;
CREATE TABLE aegis.analyst_state (
    tenant   text   COLLATE "C" NOT NULL,
    source   text   COLLATE "C" NOT NULL,
    resource text   COLLATE "C" NOT NULL,
    metric   text   COLLATE "C" NOT NULL,
    series   bigint NOT NULL DEFAULT 0,
    state    bytea  NOT NULL,
    PRIMARY KEY (tenant, source, resource, metric, series)
) WITH (fillfactor = 50, toast_tuple_target = 8160);
ALTER TABLE aegis.analyst_state ALTER COLUMN state SET STORAGE PLAIN;

-- Buckets are read in the order of time.
CREATE INDEX metric_1m_bucket ON aegis.metric_1m (bucket);

-- decision: opened (a case, an episode of its group), joined (an open case), held
-- (kept, and no case: rule says why). rule and reason are what explain shows.
CREATE TABLE aegis.finding (
    tenant      text        COLLATE "C" NOT NULL,
    finding_id  uuid        NOT NULL,
    fingerprint text        COLLATE "C" NOT NULL,
    source      text        NOT NULL,            -- metric, call, log, alert
    kind        text        NOT NULL,            -- the detector, or alert
    severity    text        NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    resource    text        NOT NULL DEFAULT '',
    metric      text        NOT NULL DEFAULT '',
    title       text        NOT NULL,
    summary     text        NOT NULL DEFAULT '',
    score       double precision NOT NULL DEFAULT 0,
    at          timestamptz NOT NULL,            -- of the data
    detail      jsonb       NOT NULL DEFAULT '{}',   -- value, expected, scale, limit, links
    decision    text        NOT NULL CHECK (decision IN ('opened', 'joined', 'held')),
    rule        text        NOT NULL,
    reason      text        NOT NULL,
    group_id    uuid,
    episode     int,
    case_id     uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, finding_id)
);
CREATE INDEX finding_page ON aegis.finding (tenant, created_at DESC, finding_id DESC);
CREATE INDEX finding_case ON aegis.finding (tenant, case_id) WHERE case_id IS NOT NULL;

-- One row a group, which is one case; last_at is its newest finding's.
CREATE TABLE aegis.finding_group (
    tenant    text        COLLATE "C" NOT NULL,
    group_id  uuid        NOT NULL,
    episode   int         NOT NULL DEFAULT 1,
    case_id   uuid        NOT NULL,
    opened_by uuid        NOT NULL,
    findings  bigint      NOT NULL DEFAULT 0,
    first_at  timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, group_id),
    UNIQUE (tenant, case_id)
) WITH (fillfactor = 50);
-- Which group a fingerprint or a resource belongs to now: one at most, so that two
-- findings at the same moment cannot open two.
CREATE TABLE aegis.finding_member (
    tenant   text        COLLATE "C" NOT NULL,
    kind     text        COLLATE "C" NOT NULL CHECK (kind IN ('fingerprint', 'resource')),
    key      text        COLLATE "C" NOT NULL,
    group_id uuid        NOT NULL,
    last_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, kind, key)
) WITH (fillfactor = 50);

-- POST /analyze/run: one row a wish, until a pass has answered it.
CREATE TABLE aegis.analyst_run (
    tenant     text        COLLATE "C" NOT NULL,
    run_id     uuid        NOT NULL,
    state      text        NOT NULL DEFAULT 'QUEUED' CHECK (state IN ('QUEUED', 'DONE')),
    asked_by   text        NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz,
    findings   int         NOT NULL DEFAULT 0,
    opened     int         NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, run_id)
);
CREATE INDEX analyst_run_new ON aegis.analyst_run (asked_at) WHERE state = 'QUEUED';

DO $$
DECLARE t text; seen constant text :=
    $q$strpos(current_setting('aegis.tenants', true), E'\x1f' || tenant || E'\x1f') > 0$q$;
BEGIN
    FOREACH t IN ARRAY ARRAY['analyst_series', 'analyst_state', 'finding', 'finding_group',
        'finding_member', 'analyst_run']
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
