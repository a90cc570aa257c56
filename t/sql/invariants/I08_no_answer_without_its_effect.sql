-- I8: of the creations and transitions that clients sent: a success has its one
-- timeline row, a key that only ever got refusals has none, none has two.
SELECT k.tenant, k.key, k.ok, k.refused, coalesce(t.n, 0) AS effects
  FROM (SELECT tenant, key, bool_or(status BETWEEN 200 AND 299) AS ok,
               bool_and(status BETWEEN 400 AND 499
                        AND problem <> 'idempotency-key-in-flight') AS refused
          FROM t_client WHERE route IN ('/case/create', '/case/{id}/transition') GROUP BY 1, 2) k
  LEFT JOIN (SELECT tenant, idem_key AS key, count(*) AS n
               FROM aegis.case_timeline WHERE principal NOT LIKE 'aegis:%' GROUP BY 1, 2) t
       USING (tenant, key)
 WHERE (k.ok AND t.n IS DISTINCT FROM 1) OR (k.refused AND t.n IS NOT NULL) OR t.n > 1
