-- What pages are measured on: :rows timeline rows. A case has 25 of them, one of
-- each tenant 40000. Most cases are CLOSED, as they are for ever; the tag "rare"
-- is on few of them, "third" on every third.
SET client_min_messages = warning;
SET synchronous_commit = off;
SET session_replication_role = replica;      -- timelines are append-only
TRUNCATE aegis.ops_case, aegis.case_tag, aegis.case_timeline, aegis.outbox, aegis.idempotency;

INSERT INTO aegis.ops_case (tenant, case_id, status, closed, settled, version, title, kind,
       severity, mode, tags, labels, reason, created_at, updated_at)
SELECT 'bench' || n % 8, bench.id(n),
       CASE WHEN n % 100 < 92 THEN 'CLOSED' WHEN n % 100 < 96 THEN 'PARKED'
            WHEN n % 100 < 99 THEN 'NEW' ELSE 'EXECUTING' END,
       n % 100 < 92,
       CASE WHEN n % 100 < 92 OR n > :rows / 25 - 500 THEN '' WHEN n % 100 < 96 THEN 'PARKED'
            WHEN n % 100 < 99 THEN 'NEW' ELSE 'EXECUTING' END,
       CASE WHEN n < 8 THEN least(40000, :rows / 16) ELSE 25 END, 'case ' || n || ' of the measurement',
       'incident', 'warning', 'manual',
       CASE WHEN n % 4999 < 8 THEN '["bench", "rare"]' WHEN n % 3 = 0 THEN '["bench", "third"]' ELSE '["bench"]' END::jsonb,
       '{"service": "checkout", "env": "prod"}', 'measured',
       '2026-01-01'::timestamptz + n * interval '20 s', '2026-01-01'::timestamptz + n * interval '20 s'
  FROM generate_series(0, greatest(:rows / 25 - 1, 7)) n;
INSERT INTO aegis.case_tag (tenant, tag, created_at, case_id)
SELECT c.tenant, t.tag, c.created_at, c.case_id FROM aegis.ops_case c, jsonb_array_elements_text(c.tags) AS t(tag);

-- the key is built once, behind the rows
ALTER TABLE aegis.case_timeline DROP CONSTRAINT case_timeline_pkey;
INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status, to_status, rule,
       actor, principal, reason, trace_id, idem_key, meta, created_at)
SELECT c.tenant, c.case_id, v, 0, CASE v WHEN 1 THEN 'create' ELSE 'transition' END,
       CASE WHEN v = 1 THEN 'create' WHEN v % 2 = 0 THEN 'start_analysis' ELSE 'force_park' END,
       CASE WHEN v = 1 THEN NULL WHEN v = 2 THEN 'NEW' WHEN v % 2 = 0 THEN 'PARKED' ELSE 'ANALYZING' END,
       CASE WHEN v = 1 THEN 'NEW' WHEN v % 2 = 0 THEN 'ANALYZING' ELSE 'PARKED' END,
       CASE WHEN v = 1 THEN NULL WHEN v = 2 THEN 110 WHEN v % 2 = 0 THEN 710 ELSE 290 END,
       'bench', 'bench', 'measured', replace(c.case_id::text, '-', ''), c.case_id || ':' || v, '{}',
       c.created_at + v * interval '1 s'
  FROM aegis.ops_case c, generate_series(1, c.version) v;
ALTER TABLE aegis.case_timeline ADD CONSTRAINT case_timeline_pkey PRIMARY KEY (case_id, tenant, version, seq);

VACUUM (ANALYZE) aegis.ops_case, aegis.case_tag, aegis.case_timeline;
CHECKPOINT;
