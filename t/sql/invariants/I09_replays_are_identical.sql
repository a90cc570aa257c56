-- I9: a key has one answer: status, body, ETag and Location never differ.
SELECT tenant, key, count(DISTINCT (status, body_sha, etag, location)) AS answers
  FROM t_client WHERE status BETWEEN 200 AND 299
 GROUP BY 1, 2 HAVING count(DISTINCT (status, body_sha, etag, location)) > 1
