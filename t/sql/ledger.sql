-- What the tests saw from outside, beside the product's own tables, for the
-- invariants to compare. Temporary: nothing of the tests stays in a database.
-- Aegis::Invariants fills them; an empty ledger makes its invariants say
-- nothing, so the suite also checks that the ledgers are not empty.

-- Every answer that a client got to a write with a key.
CREATE TEMP TABLE t_client (
    tenant   text NOT NULL,
    key      text NOT NULL,
    route    text NOT NULL,
    status   int  NOT NULL,
    problem  text NOT NULL DEFAULT '',
    body_sha text NOT NULL DEFAULT '',
    etag     text NOT NULL DEFAULT '',
    location text NOT NULL DEFAULT '',
    case_id  uuid,
    version  int,
    at       timestamptz NOT NULL DEFAULT now()
);

-- Every version of a case that a client read, asked at and answered at.
CREATE TEMP TABLE t_read (
    tenant  text NOT NULL,
    case_id uuid NOT NULL,
    version int  NOT NULL,
    asked   timestamptz NOT NULL,
    told    timestamptz NOT NULL
);

-- Every message that the brokers hold, in each log's order.
CREATE TEMP TABLE t_bus (
    log       text   NOT NULL,      -- JetStream stream, or Kafka topic/partition
    seq       bigint NOT NULL,
    msg_id    text   NOT NULL,
    subject   text   NOT NULL,
    tenant    text   NOT NULL DEFAULT '',
    case_id   uuid,
    version   int
);

-- Every effect that a script left behind: one row a line of its file.
CREATE TEMP TABLE t_effect (
    exec_id uuid NOT NULL,
    phase   text NOT NULL,
    step_no int  NOT NULL,
    attempt int  NOT NULL
);
