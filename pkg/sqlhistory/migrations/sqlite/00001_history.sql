-- +goose Up
-- Times are Unix nanoseconds, 0: never. Types, partitions and NOT NULL are the only difference to PostgreSQL's
-- file. No column is ever null; but for each that might refuse a row, SQLite keeps a journal of every statement
-- with several rows, a sixth of what a row costs. The tables keep their row ids, because without them every
-- index repeats the key, and most attempts would take a page of their own: as much again.
-- The keys begin with the tenant, so that they serve a tenant's list of all as well.
CREATE TABLE deliveries (
    received_at        BIGINT,
    id                 TEXT,
    tenant             TEXT,
    webhook_id         TEXT,
    event_id           TEXT,
    event_type         TEXT,
    external_reference TEXT,
    run                TEXT,
    step               BIGINT,
    run_id             TEXT,
    cause              TEXT,
    attempt            BIGINT,
    status             TEXT,
    suspend_reason     TEXT,
    next_attempt_at    BIGINT,
    updated_at         BIGINT,
    log_topic          TEXT,
    log_partition      BIGINT,
    log_offset         BIGINT,
    PRIMARY KEY (tenant, received_at, id)
);
CREATE INDEX deliveries_id ON deliveries (id);
CREATE INDEX deliveries_event ON deliveries (tenant, event_id);
CREATE INDEX deliveries_webhook ON deliveries (tenant, webhook_id, received_at, id);
CREATE INDEX deliveries_type ON deliveries (tenant, event_type, received_at, id);
CREATE INDEX deliveries_reference ON deliveries (tenant, external_reference, received_at, id) WHERE external_reference <> '';
-- Most deliveries are delivered: those are found by the indexes above, and all others by these.
CREATE INDEX deliveries_status ON deliveries (tenant, status, received_at, id) WHERE status <> 'delivered';
CREATE INDEX deliveries_webhook_status ON deliveries (webhook_id, status, received_at, id) WHERE status <> 'delivered';

CREATE TABLE attempts (
    received_at BIGINT,
    delivery_id TEXT,
    started_at  BIGINT,
    run_id      TEXT,
    attempt     BIGINT,
    kind        TEXT,
    tenant      TEXT,
    webhook_id  TEXT,
    event_id    TEXT,
    finished_at BIGINT,
    status      TEXT,
    status_code BIGINT,
    error_code  TEXT,
    detail      TEXT,
    PRIMARY KEY (received_at, delivery_id, started_at, run_id, attempt, kind)
);
-- What the matcher says of an event beside its deliveries.
CREATE INDEX attempts_of_event ON attempts (tenant, event_id) WHERE kind = 'condition_error';

CREATE TABLE events (
    received_at        BIGINT,
    log_topic          TEXT,
    log_partition      BIGINT,
    log_offset         BIGINT,
    id                 TEXT,
    tenant             TEXT,
    type               TEXT,
    external_reference TEXT,
    occurred_at        BIGINT,
    api_key_id         TEXT,
    PRIMARY KEY (tenant, received_at, id, log_topic, log_partition, log_offset)
);
CREATE INDEX events_id ON events (tenant, id);
CREATE INDEX events_type ON events (tenant, type, received_at, id);
CREATE INDEX events_reference ON events (tenant, external_reference, received_at, id) WHERE external_reference <> '';

-- Mirrors of `states` and of what attempts say, one row for each webhook.
CREATE TABLE webhook_states (
    webhook_id             TEXT PRIMARY KEY,
    tenant                 TEXT,
    generation             BIGINT,
    version                BIGINT,
    fail_streak            BIGINT,
    fail_streak_started_at BIGINT,
    last_failed_at         BIGINT,
    last_failure_at        BIGINT,
    failure_count          BIGINT,
    last_success_at        BIGINT,
    disabled               BOOLEAN,
    disabled_at            BIGINT,
    disable_reason         TEXT,
    disabled_until         BIGINT,
    warned_at              BIGINT,
    last_status_code       BIGINT,
    last_error             TEXT    
);

CREATE TABLE webhook_activity (
    webhook_id        TEXT PRIMARY KEY,
    tenant            TEXT,
    last_triggered_at BIGINT,
    last_success_at   BIGINT
);

CREATE TABLE notices (
    id                     TEXT PRIMARY KEY,
    kind                   TEXT,
    tenant                 TEXT,
    webhook_id             TEXT,
    generation             BIGINT,
    fail_streak            BIGINT,
    fail_streak_started_at BIGINT,
    raised_at              BIGINT,
    last_status_code       BIGINT,
    last_error             TEXT,
    notice_id              TEXT,
    mail_to                TEXT,
    mailed_at              BIGINT
);
CREATE INDEX notices_of_webhook ON notices (webhook_id, raised_at, id);
CREATE INDEX notices_of_tenant ON notices (tenant, raised_at, id);

CREATE TABLE quarantine (
    log_topic     TEXT,
    log_partition BIGINT,
    log_offset    BIGINT,
    reader        TEXT,
    reason        TEXT,
    at            BIGINT,
    PRIMARY KEY (log_topic, log_partition, log_offset, reader)
);
CREATE INDEX quarantine_at ON quarantine (at);

-- +goose Down
DROP TABLE quarantine;
DROP TABLE notices;
DROP TABLE webhook_activity;
DROP TABLE webhook_states;
DROP TABLE events;
DROP TABLE attempts;
DROP TABLE deliveries;
