-- I12: a consumer has applied a message at most once, whatever day it came,
-- and what it applied as a transition is in its inbox.
SELECT tenant, consumer, msg_id, count(*) AS n, 'inbox' AS what
  FROM aegis.inbox GROUP BY 1, 2, 3 HAVING count(*) > 1
UNION ALL
SELECT tenant, principal, idem_key, count(*), 'timeline'
  FROM aegis.case_timeline WHERE principal LIKE 'aegis:%' AND kind = 'transition'
 GROUP BY 1, 2, 3 HAVING count(*) > 1
