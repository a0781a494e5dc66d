-- +goose Up
-- Times are Unix nanoseconds, 0: never. Types are the only difference to PostgreSQL's file.
CREATE TABLE tenants (
    id         TEXT PRIMARY KEY,
    name       TEXT    NOT NULL,
    open       BOOLEAN NOT NULL,
    policy     TEXT    NOT NULL,
    payload    TEXT    NOT NULL,
    features   TEXT    NOT NULL,
    profile    TEXT    NOT NULL,
    version    BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
);

CREATE TABLE webhooks (
    id                  TEXT PRIMARY KEY,
    tenant              TEXT    NOT NULL REFERENCES tenants (id),
    name                TEXT    NOT NULL,
    description         TEXT    NOT NULL,
    url                 TEXT    NOT NULL,
    active              BOOLEAN NOT NULL,
    paused              BOOLEAN NOT NULL,
    event_types         TEXT    NOT NULL,
    filters             TEXT    NOT NULL,
    condition           TEXT    NOT NULL,
    headers             TEXT    NOT NULL,
    payload             TEXT    NOT NULL,
    retry_count         BIGINT,
    timeout_seconds     BIGINT,
    rate_limit          BIGINT  NOT NULL,
    max_in_flight       BIGINT  NOT NULL,
    external_reference  TEXT    NOT NULL,
    metadata            TEXT    NOT NULL,
    signing_keys        TEXT    NOT NULL,
    api_key_id          TEXT    NOT NULL,
    developer_client_id TEXT    NOT NULL,
    third_party         BOOLEAN NOT NULL,
    generation          BIGINT  NOT NULL,
    version             BIGINT  NOT NULL,
    created_at          BIGINT  NOT NULL,
    updated_at          BIGINT  NOT NULL
);
CREATE INDEX webhooks_of_tenant ON webhooks (tenant, created_at, id);

-- A key without a tenant ('') is a platform key.
CREATE TABLE api_keys (
    id                  TEXT PRIMARY KEY,
    tenant              TEXT   NOT NULL,
    name                TEXT   NOT NULL,
    prefix              TEXT   NOT NULL,
    hash                BLOB   NOT NULL UNIQUE,
    scopes              TEXT   NOT NULL,
    developer_client_id TEXT   NOT NULL,
    version             BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    expires_at          BIGINT NOT NULL
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant, created_at, id);

-- What changed and is not in the log yet. Bulk rows (a whole republishing) let others pass.
CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT    NOT NULL,
    key  TEXT    NOT NULL,
    bulk BOOLEAN NOT NULL
);
CREATE INDEX outbox_order ON outbox (bulk, seq);
CREATE INDEX outbox_key ON outbox (kind, key);

-- +goose Down
DROP TABLE outbox;
DROP TABLE api_keys;
DROP TABLE webhooks;
DROP TABLE tenants;
