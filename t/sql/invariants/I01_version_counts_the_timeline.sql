-- I1: a case's version is the number of its timeline rows that made a version
-- (the creation is version 1), and the newest of them.
SELECT c.tenant, c.case_id, c.version, count(t.version) AS rows, max(t.version) AS newest
  FROM aegis.ops_case c
  LEFT JOIN aegis.case_timeline t ON t.tenant = c.tenant AND t.case_id = c.case_id
       AND t.kind IN ('create', 'transition')
 GROUP BY c.tenant, c.case_id, c.version
HAVING c.version <> count(t.version) OR c.version IS DISTINCT FROM max(t.version)
