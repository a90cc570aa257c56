-- I7: of a step that is not declared retry_safe at most one effect exists, each
-- effect belongs to an attempt whose end is recorded, no attempt is counted
-- as succeeded twice, and a finished run has no attempt without an end.
SELECT s.exec_id, s.phase, s.step_no, 'effects' AS what, count(*) AS n
  FROM t_effect e
  JOIN (SELECT exec_id, phase, step_no, bool_and(retry_safe) AS retry_safe
          FROM aegis.exec_step GROUP BY 1, 2, 3) s USING (exec_id, phase, step_no)
 GROUP BY 1, 2, 3, s.retry_safe HAVING count(*) > 1 AND NOT s.retry_safe
UNION ALL
SELECT e.exec_id, e.phase, e.step_no, 'effect without a recorded attempt', count(*)
  FROM t_effect e
  LEFT JOIN aegis.exec_step s ON s.exec_id = e.exec_id AND s.phase = e.phase
       AND s.step_no = e.step_no AND s.attempt = e.attempt
 WHERE s.exec_id IS NULL OR s.state = 'RUNNING' GROUP BY 1, 2, 3
UNION ALL
SELECT exec_id, phase, step_no, 'succeeded twice', count(*)
  FROM aegis.exec_step WHERE state = 'OK' GROUP BY 1, 2, 3 HAVING count(*) > 1
UNION ALL
SELECT s.exec_id, s.phase, s.step_no, 'open attempt in a finished run', 1
  FROM aegis.exec_step s
  JOIN aegis.exec_run r ON r.tenant = s.tenant AND r.exec_id = s.exec_id
 WHERE r.state IN ('DONE', 'FAILED') AND s.state = 'RUNNING'
