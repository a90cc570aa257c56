-- The audit's chain: what was said and decided, sealed into segments that name
-- each other by hash (docs/audit.md). Rows say which transaction wrote them, so
-- that they are sealed in an order in which nothing can appear behind the seal.
-- Rows from before this migration have transaction 0 and are sealed first.
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['case_timeline', 'gate_decision', 'plan_approved', 'gate_vote']
    LOOP
        EXECUTE format('ALTER TABLE aegis.%I ADD COLUMN audit_xid bigint NOT NULL DEFAULT 0', t);
        EXECUTE format('ALTER TABLE aegis.%I ALTER COLUMN audit_xid'
                       ' SET DEFAULT (pg_current_xact_id()::text::bigint)', t);
        -- empty when it is made, whatever the table holds
        EXECUTE format('CREATE INDEX %I ON aegis.%I (audit_xid) WHERE audit_xid > 0',
                       t || '_audit', t);
    END LOOP;
END $$;

CREATE TABLE aegis.audit_segment (
    tenant    text        COLLATE "C" NOT NULL,
    seq       bigint      NOT NULL,             -- 1, 2, 3… of the tenant
    tbl       text        COLLATE "C" NOT NULL, -- of which table its rows are
    n         int         NOT NULL,             -- how many
    last_xid  bigint      NOT NULL,             -- where the last of them stands
    last_key  text        COLLATE "C" NOT NULL,
    rows_hash bytea       NOT NULL,             -- of audit_leaf.hashes
    prev      bytea       NOT NULL,             -- root of the one before
    root      bytea       NOT NULL,             -- over all of the above
    sealed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, seq)
);
-- The rows of a segment, in their order: "<xid>/<key>", 32 bytes each.
CREATE TABLE aegis.audit_leaf (
    tenant text   COLLATE "C" NOT NULL,
    seq    bigint NOT NULL,
    keys   text[] COLLATE "C" NOT NULL,
    hashes bytea  NOT NULL,
    PRIMARY KEY (tenant, seq)
);
-- How far the sealer has come in each table, over all tenants.
CREATE TABLE aegis.audit_cursor (
    tbl text   PRIMARY KEY,
    xid bigint NOT NULL DEFAULT 0,
    key text   COLLATE "C" NOT NULL DEFAULT ''
);
INSERT INTO aegis.audit_cursor (tbl) VALUES ('timeline'), ('decision'), ('approval'), ('vote');

DO $$
DECLARE t text; seen constant text :=
    $q$strpos(current_setting('aegis.tenants', true), E'\x1f' || tenant || E'\x1f') > 0$q$;
BEGIN
    FOREACH t IN ARRAY ARRAY['audit_segment', 'audit_leaf']
    LOOP
        EXECUTE format('ALTER TABLE aegis.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE aegis.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY tenant_gateway ON aegis.%I TO aegis_gateway USING (%s)', t, seen);
        EXECUTE format('CREATE POLICY tenant_worker ON aegis.%I TO aegis_worker USING (%s OR %s)',
                       t, seen, $q$current_setting('aegis.tenants', true) = '*'$q$);
        EXECUTE format('CREATE POLICY tenant_all ON aegis.%I TO aegis_migrator USING (true)', t);
        EXECUTE format('CREATE POLICY tenant_read ON aegis.%I FOR SELECT TO aegis_reader USING (true)', t);
    END LOOP;
END $$;

-- Nobody changes them, their owner neither: who wants to has to take the trigger
-- away first, which verify says.
CREATE FUNCTION aegis.append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- rows that a segment of retirement names may go, and then only go
    IF TG_OP = 'DELETE' AND TG_NARGS = 1 THEN
        IF EXISTS (SELECT FROM aegis.audit_segment s
                    WHERE s.tenant = OLD.tenant AND s.tbl = 'retire:' || TG_ARGV[0]
                      AND OLD.audit_xid <= s.last_xid)
        THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation',
        MESSAGE = format('rows of %s are only ever added', TG_TABLE_NAME),
        HINT = 'docs/audit.md says how old ones are retired';
END $$;
DO $$
DECLARE t text; code text;
BEGIN
    FOREACH t IN ARRAY ARRAY['case_timeline=timeline', 'gate_decision=decision',
        'plan_approved=approval', 'gate_vote=vote', 'audit_segment=', 'audit_leaf=']
    LOOP
        code := split_part(t, '=', 2);
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON aegis.%I'
            ' FOR EACH ROW EXECUTE FUNCTION aegis.append_only(%s)', split_part(t, '=', 1),
            CASE WHEN code = '' THEN '' ELSE quote_literal(code) END);
        EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON aegis.%I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION aegis.append_only()', split_part(t, '=', 1));
    END LOOP;
END $$;
