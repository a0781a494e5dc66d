-- +goose Up
ALTER TABLE webhooks ADD COLUMN held BOOLEAN NOT NULL DEFAULT FALSE;

-- Who is told of a tenant's webhooks. Times as in 00001; types are the only difference to PostgreSQL's file.
CREATE TABLE administrators (
    id          TEXT PRIMARY KEY,
    tenant      TEXT   NOT NULL REFERENCES tenants (id),
    email       TEXT   NOT NULL,
    email_lower TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    language    TEXT   NOT NULL,
    notices     TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    UNIQUE (tenant, email_lower)
);
CREATE INDEX administrators_of_tenant ON administrators (tenant, created_at, id);

-- Who is signed in. The id is the hash of what the browser holds; a session ends with its API key.
CREATE TABLE sessions (
    id         BLOB PRIMARY KEY,
    key_hash   BLOB   NOT NULL,
    tenant     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_of_key ON sessions (key_hash);
CREATE INDEX sessions_of_tenant ON sessions (tenant);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Changes of many deliveries, which go on in the background.
CREATE TABLE jobs (
    id           TEXT PRIMARY KEY,
    tenant       TEXT   NOT NULL REFERENCES tenants (id),
    webhook_id   TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    selection    TEXT   NOT NULL,
    status       TEXT   NOT NULL,
    requested_by TEXT   NOT NULL,
    changed      BIGINT NOT NULL,
    skipped      BIGINT NOT NULL,
    error        TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    finished_at  BIGINT NOT NULL
);
CREATE INDEX jobs_of_tenant ON jobs (tenant, created_at, id);
CREATE INDEX jobs_open ON jobs (created_at, id) WHERE status IN ('waiting', 'running');
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at > 0;

-- +goose Down
ALTER TABLE webhooks DROP COLUMN held;
DROP TABLE jobs;
DROP TABLE sessions;
DROP TABLE administrators;
