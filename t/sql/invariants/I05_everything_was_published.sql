-- I5: after quiescence nothing is left unpublished, and what the outbox calls
-- published is in a broker's log.
SELECT o.tenant, o.case_id, o.msg_id, o.subject, o.published_at, b.log
  FROM aegis.outbox o
  LEFT JOIN (SELECT DISTINCT ON (msg_id) msg_id, log FROM t_bus) b USING (msg_id)
 WHERE o.published_at IS NULL
    OR (b.msg_id IS NULL AND EXISTS (SELECT FROM t_bus))
