-- +goose Up
-- Who changed what. Times as in 00001; types are the only difference to SQLite's file. log is whose audit log an entry is
-- in (a tenant's, '' the platform's), tenant whose the thing is.
CREATE TABLE audit_log (
    id         TEXT COLLATE "C" PRIMARY KEY,
    log        TEXT COLLATE "C" NOT NULL,
    tenant     TEXT COLLATE "C" NOT NULL,
    created_at BIGINT  NOT NULL,
    author     TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    key_name   TEXT    NOT NULL,
    platform   BOOLEAN NOT NULL,
    action     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    subject_id TEXT COLLATE "C" NOT NULL,
    before     TEXT    NOT NULL,
    after      TEXT    NOT NULL,
    result     TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    request_id TEXT    NOT NULL
);
CREATE INDEX audit_log_of ON audit_log (log, created_at, id);
CREATE INDEX audit_log_about ON audit_log (log, subject_id, created_at, id);
CREATE INDEX audit_log_age ON audit_log (created_at);

-- Requests that are carried out once. The answer is without what is secret.
CREATE TABLE idempotency_keys (
    tenant      TEXT COLLATE "C" NOT NULL,
    api_key_id  TEXT COLLATE "C" NOT NULL,
    route       TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA   NOT NULL,
    holder      TEXT    NOT NULL,
    held_until  BIGINT  NOT NULL,
    done        BOOLEAN NOT NULL,
    answer      TEXT    NOT NULL,
    expires_at  BIGINT  NOT NULL,
    PRIMARY KEY (tenant, api_key_id, route, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

ALTER TABLE api_keys ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE api_keys DROP COLUMN last_used_at;
ALTER TABLE api_keys DROP COLUMN updated_at;
DROP TABLE idempotency_keys;
DROP TABLE audit_log;
