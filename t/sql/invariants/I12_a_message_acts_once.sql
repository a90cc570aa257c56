-- I12: a consumer has applied a message at most once, whatever day it came: it has one
-- row in the inbox, and one on the timeline, be that a transition or the note that it
-- came too late.
SELECT tenant, consumer, msg_id, count(*) AS n, 'inbox' AS what
  FROM aegis.inbox GROUP BY 1, 2, 3 HAVING count(*) > 1
UNION ALL
SELECT tenant, principal, idem_key, count(*), 'timeline'
  FROM aegis.case_timeline
 WHERE principal LIKE 'aegis:%' AND (kind = 'transition' OR kind = 'note' AND reason LIKE 'recorded only:%')
 GROUP BY 1, 2, 3 HAVING count(*) > 1
