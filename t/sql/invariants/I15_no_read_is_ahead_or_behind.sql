-- I15: who reads a case sees no version that was not there when the answer came, and
-- none older than what somebody had been told of before the question was asked.
SELECT r.tenant, r.case_id, r.version, r.asked, r.told, 'ahead' AS what
  FROM t_read r
 WHERE NOT EXISTS (SELECT FROM aegis.case_timeline t
        WHERE t.tenant = r.tenant AND t.case_id = r.case_id AND t.version = r.version
          AND t.kind <> 'note' AND t.created_at <= r.told)
UNION ALL
SELECT r.tenant, r.case_id, r.version, r.asked, c.at, 'behind'
  FROM t_read r
  JOIN t_client c ON c.tenant = r.tenant AND c.case_id = r.case_id
   AND c.status BETWEEN 200 AND 299 AND c.version > r.version AND c.at < r.asked
