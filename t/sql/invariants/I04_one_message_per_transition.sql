-- I4: exactly one fact in the outbox for each transition and each creation, no
-- fact without its transition, and each entry of an auto case into a state
-- that has a command has exactly that one command (nudges are extra and say so).
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
  FROM (SELECT l.tenant, l.case_id, l.version, s.command AS subject
          FROM aegis.case_timeline l
          JOIN aegis.fsm_state s ON s.name = l.to_status AND s.command <> ''
          JOIN aegis.ops_case c ON c.tenant = l.tenant AND c.case_id = l.case_id AND c.mode = 'auto'
         WHERE l.kind = 'transition') t
  FULL JOIN (SELECT tenant, case_id, version, subject, count(*) AS n FROM aegis.outbox
              WHERE subject LIKE 'cmd.%' AND msg_id NOT LIKE '%:nudge:%' GROUP BY 1, 2, 3, 4) o
       USING (tenant, case_id, version, subject)
 WHERE t.case_id IS NULL OR o.n IS DISTINCT FROM 1
