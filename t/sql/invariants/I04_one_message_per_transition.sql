-- I4: exactly one fact in the outbox for each transition and each creation, no
-- fact without its transition, and each entry of an auto case into a state
-- that has a command has exactly that one command (nudges are extra and say so); or
-- none, when the very transaction that brought it there went on with it, by the next
-- transition or by a run.
SELECT coalesce(t.tenant, o.tenant) AS tenant, coalesce(t.case_id, o.case_id) AS case_id,
       coalesce(t.version, o.version) AS version, 'fact' AS what, o.n
  FROM (SELECT tenant, case_id, version FROM aegis.case_timeline WHERE kind = 'transition') t
  FULL JOIN (SELECT tenant, case_id, version, count(*) AS n FROM aegis.outbox
              WHERE subject = 'evt.case.transition.v1' GROUP BY 1, 2, 3) o
       USING (tenant, case_id, version)
 WHERE t.case_id IS NULL OR o.n IS DISTINCT FROM 1
UNION ALL
SELECT coalesce(t.tenant, o.tenant), coalesce(t.case_id, o.case_id), 1, 'created', o.n
  FROM (SELECT tenant, case_id FROM aegis.case_timeline WHERE kind = 'create') t
  FULL JOIN (SELECT tenant, case_id, count(*) AS n FROM aegis.outbox
              WHERE subject = 'evt.case.created.v1' AND msg_id NOT LIKE '%:nudge:%' GROUP BY 1, 2) o
       USING (tenant, case_id)
 WHERE t.case_id IS NULL OR o.n IS DISTINCT FROM 1
UNION ALL
SELECT coalesce(t.tenant, o.tenant), coalesce(t.case_id, o.case_id),
       coalesce(t.version, o.version), 'command', o.n
  FROM (SELECT l.tenant, l.case_id, l.version, s.command AS subject,
               EXISTS (SELECT FROM aegis.case_timeline x WHERE x.tenant = l.tenant
                   AND x.case_id = l.case_id AND x.audit_xid = l.audit_xid AND l.audit_xid > 0
                   AND (x.version = l.version + 1 AND x.kind = 'transition'
                        OR x.version = l.version AND x.event = 'approval_requested'))
               OR s.command = 'cmd.exec.run' AND EXISTS (SELECT FROM aegis.exec_run r
                   WHERE r.tenant = l.tenant AND r.case_id = l.case_id
                     AND r.for_version = l.version AND r.created_at = l.created_at AND NOT r.dry)
               OR s.command = 'cmd.verify.run' AND EXISTS (SELECT FROM aegis.verify_run v
                   WHERE v.tenant = l.tenant AND v.case_id = l.case_id
                     AND v.for_version = l.version AND v.created_at = l.created_at) AS carried
          FROM aegis.case_timeline l
          JOIN aegis.fsm_state s ON s.name = l.to_status AND s.command <> ''
          JOIN aegis.ops_case c ON c.tenant = l.tenant AND c.case_id = l.case_id AND c.mode = 'auto'
         WHERE l.kind = 'transition') t
  FULL JOIN (SELECT tenant, case_id, version, subject, count(*) AS n FROM aegis.outbox
              WHERE subject LIKE 'cmd.%' AND msg_id NOT LIKE '%:nudge:%' GROUP BY 1, 2, 3, 4) o
       USING (tenant, case_id, version, subject)
 WHERE t.case_id IS NULL OR o.n IS DISTINCT FROM CASE WHEN t.carried THEN NULL ELSE 1 END
