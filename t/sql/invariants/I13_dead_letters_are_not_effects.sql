-- I13: what a consumer gave up on it has not applied, and it gave up on it once
-- (a dead letter that was sent again may be applied later).
SELECT d.tenant, d.consumer, d.msg_id, d.code
  FROM aegis.dead_letter d
  JOIN aegis.inbox i ON i.consumer = d.consumer AND i.msg_id = d.msg_id
 WHERE d.state <> 'RETRIED'
UNION ALL
SELECT min(tenant), consumer, msg_id, 'twice' FROM aegis.dead_letter
 GROUP BY consumer, msg_id HAVING count(*) > 1
