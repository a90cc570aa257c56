-- I11: an auto case that is not at rest has something that will move it: a
-- message not yet published, a run under a lease, people who are asked until a
-- certain time, a verification that is due later, or the reconciler, who looks
-- again after 60 s at first, then later
-- and later.
SELECT c.tenant, c.case_id, c.status, c.version, c.updated_at, c.nudges, c.nudged_at
  FROM aegis.ops_case c
 WHERE c.mode = 'auto' AND c.status NOT IN ('CLOSED', 'PARKED')
   AND greatest(c.updated_at, c.nudged_at)
       < now() - (interval '60 s' * least(c.nudges + 1, 10) + interval '60 s')
   AND NOT EXISTS (SELECT FROM aegis.outbox o
        WHERE o.tenant = c.tenant AND o.case_id = c.case_id AND o.published_at IS NULL)
   AND NOT EXISTS (SELECT FROM aegis.gate_request q
        WHERE q.tenant = c.tenant AND q.case_id = c.case_id AND q.for_version = c.version
          AND q.state = 'OPEN' AND q.expires_at > now() - interval '60 s')
   AND NOT EXISTS (SELECT FROM aegis.exec_run r
        WHERE r.tenant = c.tenant AND r.case_id = c.case_id AND r.for_version = c.version
          AND r.state IN ('QUEUED', 'RUNNING') AND r.lease_until > now() - interval '60 s')
   AND NOT EXISTS (SELECT FROM aegis.verify_run v
        WHERE v.tenant = c.tenant AND v.case_id = c.case_id AND v.for_version = c.version
          AND v.state IN ('RUNNING', 'ROLLBACK') AND v.next_at > now() - interval '60 s')
