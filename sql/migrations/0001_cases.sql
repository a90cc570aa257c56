-- The orchestrator's tables: a case, its timeline, and the three ledgers that
-- make a transition exactly-once: outbox, inbox, idempotency.
--
-- Every growing table starts its key with tenant and case (or tenant and key),
-- so that a site can distribute it by tenant (docs/architecture.md, Scale).
-- There are no foreign keys between hot tables: one function writes them in
-- one transaction, the invariants in t/sql check them.

CREATE SCHEMA IF NOT EXISTS aegis;

-- Generated content, filled by sql/generated/fsm.sql.
CREATE TABLE aegis.fsm_state (
    name      text PRIMARY KEY,
    terminal  boolean NOT NULL,
    command   text    NOT NULL,          -- '' when entering it asks nobody
    sentence  text    NOT NULL
);

CREATE TABLE aegis.fsm_transition (
    rule        int  PRIMARY KEY,
    from_status text NOT NULL,
    event       text NOT NULL,
    guard       text NOT NULL,
    needs       int  NOT NULL,           -- mask of facts that the guard asks for
    to_status   text NOT NULL,
    sentence    text NOT NULL,
    UNIQUE (from_status, event)
);

CREATE TABLE aegis.fsm_fact (
    bit      int  PRIMARY KEY,
    name     text NOT NULL,
    sentence text NOT NULL
);

CREATE TABLE aegis.error_def (
    code   text PRIMARY KEY,
    status int  NOT NULL,
    title  text NOT NULL,
    remedy text NOT NULL
);

CREATE TABLE aegis.subject_def (
    subject  text PRIMARY KEY,
    stream   text NOT NULL,
    on_true  text NOT NULL,
    on_false text NOT NULL
);

CREATE TABLE aegis.ops_case (
    tenant         text        NOT NULL,
    case_id        uuid        NOT NULL,
    status         text        NOT NULL DEFAULT 'NEW',
    version        int         NOT NULL DEFAULT 1,
    title          text        NOT NULL,
    kind           text        NOT NULL DEFAULT 'incident' CHECK (kind IN ('incident', 'change')),
    severity       text        NOT NULL DEFAULT 'warning',
    mode           text        NOT NULL DEFAULT 'auto' CHECK (mode IN ('auto', 'manual')),
    tags           jsonb       NOT NULL DEFAULT '[]',
    labels         jsonb       NOT NULL DEFAULT '{}',
    plan_id        uuid,                 -- set by plan_ready: the plan the gate judges
    exec_id        uuid,                 -- set by exec_done / exec_failed
    reason         text        NOT NULL DEFAULT '',   -- of the last transition
    correlation_id text        NOT NULL DEFAULT '',
    notes          int         NOT NULL DEFAULT 0,    -- timeline rows beside transitions
    nudges         int         NOT NULL DEFAULT 0,    -- commands re-emitted since the last transition
    nudged_at      timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, case_id)
) WITH (fillfactor = 80);

-- GET /case: newest first, and the open cases by state. CLOSED is most of the
-- table for ever, so the state index leaves it out.
CREATE INDEX ops_case_created ON aegis.ops_case (tenant, created_at DESC, case_id DESC);
CREATE INDEX ops_case_open ON aegis.ops_case (tenant, status, created_at DESC, case_id DESC)
    WHERE status <> 'CLOSED';
CREATE INDEX ops_case_tags ON aegis.ops_case USING gin (tags jsonb_path_ops) WITH (fastupdate = on);

-- seq 0 is the transition (or the creation, version 1) itself: the primary key
-- alone forbids a second transition to one version. Notes follow with seq > 0.
CREATE TABLE aegis.case_timeline (
    tenant         text        NOT NULL,
    case_id        uuid        NOT NULL,
    version        int         NOT NULL,
    seq            int         NOT NULL DEFAULT 0,
    kind           text        NOT NULL CHECK (kind IN ('create', 'transition', 'note')),
    event          text        NOT NULL,
    from_status    text,
    to_status      text        NOT NULL,
    rule           int,
    actor          text        NOT NULL,
    principal      text        NOT NULL,
    reason         text        NOT NULL DEFAULT '',
    correlation_id text        NOT NULL DEFAULT '',
    trace_id       text        NOT NULL DEFAULT '',
    idem_key       text        NOT NULL DEFAULT '',
    meta           json,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, case_id, version, seq)
);

-- Sequence order is the order within a case: an id is taken while the case's
-- row is locked. It is not the commit order across cases, so the relay looks
-- for published_at IS NULL, never for id > last.
CREATE TABLE aegis.outbox (
    id           bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant       text        NOT NULL,
    case_id      uuid        NOT NULL,
    version      int         NOT NULL,
    part         smallint    NOT NULL,
    msg_id       text        NOT NULL,
    subject      text        NOT NULL,
    data         json        NOT NULL,
    traceparent  text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
) PARTITION BY RANGE (created_at);
-- The only index: publishing takes a row out of it, so it stays as small as
-- the backlog, and a published row costs nothing more until its day is dropped.
CREATE INDEX outbox_pending ON aegis.outbox (part, id) WHERE published_at IS NULL;

CREATE TABLE aegis.inbox (
    tenant     text        NOT NULL,
    consumer   text        NOT NULL,
    msg_id     text        NOT NULL,
    outcome    text        NOT NULL,
    day        date        NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, consumer, msg_id, day)
) PARTITION BY RANGE (day);

-- The first answer to a key. Uniqueness across days comes from the advisory
-- lock that every writer of a key holds to its commit (aegis.lock_keys); the
-- primary key is the second lock within a day.
CREATE TABLE aegis.idempotency (
    tenant     text        NOT NULL,
    principal  text        NOT NULL,
    key        text        NOT NULL,
    day        date        NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    hash       bytea       NOT NULL,
    status     int         NOT NULL,
    code       text        NOT NULL,
    version    int,
    body       text        NOT NULL,
    extra      text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, principal, key, day)
) PARTITION BY RANGE (day);

CREATE TABLE aegis.outbox_default      PARTITION OF aegis.outbox DEFAULT;
CREATE TABLE aegis.inbox_default       PARTITION OF aegis.inbox DEFAULT;
CREATE TABLE aegis.idempotency_default PARTITION OF aegis.idempotency DEFAULT;

-- Messages that no retry can help, with the reason, for aegisctl dlq.
CREATE TABLE aegis.dead_letter (
    tenant     text        NOT NULL DEFAULT '',
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    consumer   text        NOT NULL,
    subject    text        NOT NULL,
    msg_id     text        NOT NULL,
    case_id    uuid,
    code       text        NOT NULL,
    reason     text        NOT NULL,
    payload    bytea       NOT NULL,
    deliveries int         NOT NULL DEFAULT 1,
    state      text        NOT NULL DEFAULT 'NEW' CHECK (state IN ('NEW', 'RETRIED', 'DROPPED')),
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, consumer, msg_id)
);
CREATE INDEX dead_letter_new ON aegis.dead_letter (state, id) WHERE state = 'NEW';
