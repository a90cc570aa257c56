-- Templates of plans, as sets: the newest set is in force as a whole, so that a
-- template that is taken out of the folder is gone. All tenants share them, as they
-- share the policy. A plan remembers the params that it was made with.

CREATE TABLE aegis.plan_template_set (
    revision  bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    hash      text        NOT NULL,
    source    text        NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE aegis.plan_template (
    revision  bigint      NOT NULL,              -- of its set
    name      text        COLLATE "C" NOT NULL,
    hash      text        NOT NULL,
    body      json        NOT NULL,              -- checked; without its examples
    PRIMARY KEY (revision, name)
);

ALTER TABLE aegis.plan_proposed ADD COLUMN params json;
