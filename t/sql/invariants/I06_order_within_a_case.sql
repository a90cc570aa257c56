-- I6: within one log the first deliveries of a case follow the order in which
-- the outbox wrote them.
SELECT * FROM (
    SELECT b.log, o.tenant, o.case_id, o.id, o.msg_id, b.seq,
           lag(b.seq) OVER w AS before_seq, lag(o.msg_id) OVER w AS before
      FROM aegis.outbox o
      JOIN (SELECT log, msg_id, min(seq) AS seq FROM t_bus GROUP BY 1, 2) b USING (msg_id)
    WINDOW w AS (PARTITION BY b.log, o.tenant, o.case_id ORDER BY o.id)) x
 WHERE seq < before_seq
