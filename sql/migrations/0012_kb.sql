-- The knowledge base: documents, their versions, the passages of the current one,
-- their vectors for each embedder, and how many passages have a term.

CREATE TABLE aegis.kb_doc (
    tenant        text        COLLATE "C" NOT NULL,
    doc_id        uuid        NOT NULL,
    source        text        NOT NULL,             -- what its client calls it
    title         text        NOT NULL DEFAULT '',
    category      text        NOT NULL DEFAULT 'document',
    lang          text        NOT NULL DEFAULT '',
    format        text        NOT NULL,
    url           text        NOT NULL DEFAULT '',
    tags          jsonb       NOT NULL DEFAULT '[]',
    labels        jsonb       NOT NULL DEFAULT '{}',
    case_id       uuid,                             -- the case that it was made of
    seen          int         NOT NULL DEFAULT 1,   -- cases that went the same way
    version       int         NOT NULL DEFAULT 1,   -- the newest
    ready_version int         NOT NULL DEFAULT 0,   -- the one that is found, 0: none yet
    chunks        int         NOT NULL DEFAULT 0,
    state         text        NOT NULL DEFAULT 'QUEUED' CHECK (state IN ('QUEUED', 'READY', 'FAILED')),
    error         text        NOT NULL DEFAULT '',
    attempts      int         NOT NULL DEFAULT 0,
    next_at       timestamptz NOT NULL DEFAULT now(),
    lease_until   timestamptz NOT NULL DEFAULT '-infinity',
    owner         text        NOT NULL DEFAULT '',
    created_by    text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (doc_id, tenant)
);
CREATE UNIQUE INDEX kb_doc_source ON aegis.kb_doc (tenant, source);
CREATE INDEX kb_doc_page ON aegis.kb_doc (tenant, created_at DESC, doc_id DESC);
CREATE INDEX kb_doc_queue ON aegis.kb_doc (next_at) WHERE state = 'QUEUED';

-- What was put in. body NULL: it is still to be fetched. hash is of the body and of all that is
-- said about it; body_hash of the body alone.
CREATE TABLE aegis.kb_version (
    tenant     text        COLLATE "C" NOT NULL,
    doc_id     uuid        NOT NULL,
    version    int         NOT NULL,
    hash       bytea       NOT NULL,
    body       text,
    created_by text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (doc_id, version, tenant)
);

-- tsv has the terms that core/aegis_kb_text.c makes, and facets, which have a "=": one
-- look into one index finds what is in a tenant, fits a filter and has a word.
CREATE TABLE aegis.kb_chunk (
    chunk_id   bigint      GENERATED ALWAYS AS IDENTITY,
    tenant     text        COLLATE "C" NOT NULL,
    doc_id     uuid        NOT NULL,
    version    int         NOT NULL,
    chunk_no   int         NOT NULL,
    b_from     int         NOT NULL,                -- bytes of the document
    b_to       int         NOT NULL,
    heading    text        NOT NULL,
    body       text        NOT NULL,
    heads      tsvector    NOT NULL,                -- the terms of title and headings alone
    tsv        tsvector    NOT NULL,
    PRIMARY KEY (chunk_id, tenant)
) WITH (toast_tuple_target = 8160);
ALTER TABLE aegis.kb_chunk ALTER COLUMN tsv SET STORAGE MAIN, ALTER COLUMN heads SET STORAGE MAIN;
CREATE INDEX kb_chunk_tsv ON aegis.kb_chunk USING gin (tsv) WITH (fastupdate = off);
CREATE INDEX kb_chunk_doc ON aegis.kb_chunk (doc_id, tenant);

CREATE TABLE aegis.kb_embedder (
    embedder_id int         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text        NOT NULL UNIQUE,
    dims        int         NOT NULL CHECK (dims BETWEEN 1 AND 2048),
    state       text        NOT NULL CHECK (state IN ('FILLING', 'ACTIVE', 'SPARE', 'RETIRED')),
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX kb_embedder_active ON aegis.kb_embedder ((true)) WHERE state = 'ACTIVE';

-- v is kept apart from the row: a look at all signs reads 100 bytes a passage.
CREATE TABLE aegis.kb_vector (
    embedder_id int         NOT NULL,
    chunk_id    bigint      NOT NULL,
    tenant      text        COLLATE "C" NOT NULL,
    signs       bit varying NOT NULL,
    v           real[]      NOT NULL,
    PRIMARY KEY (embedder_id, chunk_id)
) WITH (toast_tuple_target = 256);
ALTER TABLE aegis.kb_vector ALTER COLUMN v SET STORAGE EXTERNAL;
CREATE INDEX kb_vector_chunk ON aegis.kb_vector (chunk_id);

-- Questions whose vector only the librarian can make, and their answers; kept for an hour.
CREATE TABLE aegis.kb_query (
    embedder_id int         NOT NULL,
    tenant      text        COLLATE "C" NOT NULL,
    hash        text        NOT NULL,
    query       text        NOT NULL,
    v           real[],
    asked_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hash, embedder_id, tenant)
);
CREATE INDEX kb_query_open ON aegis.kb_query (asked_at) WHERE v IS NULL;

CREATE TABLE aegis.kb_term (
    tenant text   COLLATE "C" NOT NULL,
    term   text   COLLATE "C" NOT NULL,
    n      bigint NOT NULL,                         -- passages that have it
    PRIMARY KEY (term, tenant)
) WITH (fillfactor = 80);

CREATE TABLE aegis.kb_tenant (
    tenant text   COLLATE "C" PRIMARY KEY,
    chunks bigint NOT NULL DEFAULT 0,
    lexemes bigint NOT NULL DEFAULT 0
);

-- Cases that were closed and that the librarian has not looked at.
CREATE TABLE aegis.kb_case_todo (
    tenant    text        COLLATE "C" NOT NULL,
    case_id   uuid        NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (case_id, tenant)
);
CREATE INDEX kb_case_todo_at ON aegis.kb_case_todo (closed_at);

DO $$
DECLARE t text; seen constant text :=
    $q$strpos(current_setting('aegis.tenants', true), E'\x1f' || tenant || E'\x1f') > 0$q$;
BEGIN
    FOREACH t IN ARRAY ARRAY['kb_doc', 'kb_version', 'kb_chunk', 'kb_vector', 'kb_query', 'kb_term', 'kb_tenant',
        'kb_case_todo']
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
