-- I10: a key that is claimed is claimed by a lock that ends with its
-- transaction, so "stuck in flight" is a transaction that does not end; and no
-- ledger keeps a day longer than its retention.
SELECT 'lock held by an old transaction' AS what, a.pid::text AS which, a.xact_start::text AS since
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND a.xact_start < now() - interval '90 s'
   AND a.datname = current_database() AND a.usename IN ('aegis_gateway', 'aegis_worker')
UNION ALL
SELECT 'idle in transaction', pid::text, xact_start::text FROM pg_stat_activity
 WHERE state LIKE 'idle in transaction%' AND xact_start < now() - interval '31 s'
   AND usename IN ('aegis_gateway', 'aegis_worker')
UNION ALL
SELECT 'idempotency row past its retention', key, created_at::text FROM aegis.idempotency
 WHERE created_at < now() - 3 * aegis.idempotency_ttl() - interval '1 h'
UNION ALL
SELECT 'inbox row past its retention', msg_id, created_at::text FROM aegis.inbox
 WHERE created_at < now() - interval '9 days 1 hour'
