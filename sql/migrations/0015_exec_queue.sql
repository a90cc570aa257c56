-- Runs that wait are taken from the head of their queue: by the lease alone all of
-- those that wait were read and sorted for each claim. The index holds open runs only,
-- so it is made in an instant.
CREATE INDEX exec_run_queue ON aegis.exec_run (lease_until, created_at)
    WHERE state IN ('QUEUED', 'RUNNING');
DROP INDEX aegis.exec_run_open;
