-- A page of one state finds the cases that are in it, instead of walking through all
-- of the tenant's open ones. The index holds the state of a case at rest, '' of one
-- that moves: a transition of a moving case still changes no index (HOT), and
-- aegis.settle() writes the state of those that moved no more for a while. It
-- rewrites every open case: apply it while nothing is served.
ALTER TABLE aegis.ops_case ADD COLUMN settled text COLLATE "C" NOT NULL DEFAULT '';
DROP INDEX aegis.ops_case_open;
UPDATE aegis.ops_case SET settled = status WHERE NOT closed;
CREATE INDEX ops_case_open ON aegis.ops_case (settled, tenant, created_at DESC, case_id DESC)
    WHERE NOT closed;
