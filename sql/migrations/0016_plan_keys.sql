-- Keys of artefacts begin with what differs, as README's rule 4 has it. With the tenant
-- in front, an index of plans' ids was as good as the primary key to a planner that had
-- seen the table empty: `tenant = … AND case_id = …` read all plans that the tenant had
-- ever had, for each new case.
--
-- One table a migration, locked at once: who holds one hot table and asks for another, or
-- for more of the same, meets a worker that does it the other way round. The lock lasts as
-- long as the index takes, seconds for millions of rows; who cannot have that makes it by
-- CREATE UNIQUE INDEX CONCURRENTLY before the upgrade.
LOCK TABLE aegis.plan_proposed IN ACCESS EXCLUSIVE MODE;
CREATE UNIQUE INDEX IF NOT EXISTS plan_proposed_plan ON aegis.plan_proposed (plan_id, tenant);
DROP INDEX aegis.plan_proposed_id;
