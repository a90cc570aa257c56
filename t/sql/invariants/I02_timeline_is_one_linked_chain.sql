-- I2: versions are dense, each row starts where the one before ended, and the
-- case stands where the last one ended. No row is without its case.
SELECT x.tenant, x.case_id, x.version, x.from_status, x.before, x.to_status, c.status
  FROM (SELECT tenant, case_id, version, kind, from_status, to_status,
               lag(version) OVER w AS before_version, lag(to_status) OVER w AS before,
               lead(version) OVER w IS NULL AS last
          FROM aegis.case_timeline WHERE kind <> 'note'
        WINDOW w AS (PARTITION BY tenant, case_id ORDER BY version)) x
  LEFT JOIN aegis.ops_case c ON c.tenant = x.tenant AND c.case_id = x.case_id
 WHERE c.case_id IS NULL
    OR (x.before_version IS NULL AND (x.kind <> 'create' OR x.version <> 1))
    OR (x.before_version IS NOT NULL AND (x.kind <> 'transition'
        OR x.version <> x.before_version + 1 OR x.from_status IS DISTINCT FROM x.before))
    OR (x.last AND x.to_status <> c.status)
