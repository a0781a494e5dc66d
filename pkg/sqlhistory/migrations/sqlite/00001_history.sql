-- +goose Up
-- Times are Unix nanoseconds, 0: never. Types and partitions are the only difference to PostgreSQL's file.
-- The keys begin with the tenant, so that they serve a tenant's list of all as well.
CREATE TABLE deliveries (
    received_at        BIGINT NOT NULL,
    id                 TEXT NOT NULL,
    tenant             TEXT NOT NULL,
    webhook_id         TEXT NOT NULL,
    event_id           TEXT NOT NULL,
    event_type         TEXT NOT NULL,
    external_reference TEXT NOT NULL,
    run                TEXT NOT NULL,
    step               BIGINT NOT NULL,
    run_id             TEXT NOT NULL,
    cause              TEXT NOT NULL,
    attempt            BIGINT NOT NULL,
    status             TEXT NOT NULL,
    suspend_reason     TEXT NOT NULL,
    next_attempt_at    BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    log_topic          TEXT NOT NULL,
    log_partition      BIGINT NOT NULL,
    log_offset         BIGINT NOT NULL,
    PRIMARY KEY (tenant, received_at, id)
) WITHOUT ROWID;
CREATE INDEX deliveries_id ON deliveries (id);
CREATE INDEX deliveries_event ON deliveries (tenant, event_id);
CREATE INDEX deliveries_webhook ON deliveries (tenant, webhook_id, received_at, id);
CREATE INDEX deliveries_type ON deliveries (tenant, event_type, received_at, id);
CREATE INDEX deliveries_reference ON deliveries (tenant, external_reference, received_at, id) WHERE external_reference <> '';
-- Most deliveries are delivered: those are found by the indexes above, and all others by these.
CREATE INDEX deliveries_status ON deliveries (tenant, status, received_at, id) WHERE status <> 'delivered';
CREATE INDEX deliveries_webhook_status ON deliveries (webhook_id, status, received_at, id) WHERE status <> 'delivered';

CREATE TABLE attempts (
    received_at BIGINT NOT NULL,
    delivery_id TEXT NOT NULL,
    started_at  BIGINT NOT NULL,
    run_id      TEXT NOT NULL,
    attempt     BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    webhook_id  TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    finished_at BIGINT NOT NULL,
    status      TEXT NOT NULL,
    status_code BIGINT NOT NULL,
    error_code  TEXT NOT NULL,
    detail      TEXT   NOT NULL,
    PRIMARY KEY (received_at, delivery_id, started_at, run_id, attempt, kind)
) WITHOUT ROWID;
-- What the matcher says of an event beside its deliveries.
CREATE INDEX attempts_of_event ON attempts (tenant, event_id) WHERE kind = 'condition_error';

CREATE TABLE events (
    received_at        BIGINT NOT NULL,
    log_topic          TEXT NOT NULL,
    log_partition      BIGINT NOT NULL,
    log_offset         BIGINT NOT NULL,
    id                 TEXT NOT NULL,
    tenant             TEXT NOT NULL,
    type               TEXT NOT NULL,
    external_reference TEXT NOT NULL,
    occurred_at        BIGINT NOT NULL,
    api_key_id         TEXT NOT NULL,
    PRIMARY KEY (tenant, received_at, id, log_topic, log_partition, log_offset)
) WITHOUT ROWID;
CREATE INDEX events_id ON events (tenant, id);
CREATE INDEX events_type ON events (tenant, type, received_at, id);
CREATE INDEX events_reference ON events (tenant, external_reference, received_at, id) WHERE external_reference <> '';

-- Mirrors of `states` and of what attempts say, one row for each webhook.
CREATE TABLE webhook_states (
    webhook_id             TEXT PRIMARY KEY,
    tenant                 TEXT     NOT NULL,
    generation             BIGINT  NOT NULL,
    version                BIGINT  NOT NULL,
    fail_streak            BIGINT  NOT NULL,
    fail_streak_started_at BIGINT  NOT NULL,
    last_failed_at         BIGINT  NOT NULL,
    last_failure_at        BIGINT  NOT NULL,
    failure_count          BIGINT  NOT NULL,
    last_success_at        BIGINT  NOT NULL,
    disabled               BOOLEAN NOT NULL,
    disabled_at            BIGINT  NOT NULL,
    disable_reason         TEXT     NOT NULL,
    disabled_until         BIGINT  NOT NULL,
    warned_at              BIGINT  NOT NULL,
    last_status_code       BIGINT  NOT NULL,
    last_error             TEXT     NOT NULL
);

CREATE TABLE webhook_activity (
    webhook_id        TEXT PRIMARY KEY,
    tenant            TEXT    NOT NULL,
    last_triggered_at BIGINT NOT NULL,
    last_success_at   BIGINT NOT NULL
);

CREATE TABLE notices (
    id                     TEXT PRIMARY KEY,
    kind                   TEXT    NOT NULL,
    tenant                 TEXT    NOT NULL,
    webhook_id             TEXT    NOT NULL,
    generation             BIGINT NOT NULL,
    fail_streak            BIGINT NOT NULL,
    fail_streak_started_at BIGINT NOT NULL,
    raised_at              BIGINT NOT NULL,
    last_status_code       BIGINT NOT NULL,
    last_error             TEXT    NOT NULL,
    notice_id              TEXT    NOT NULL,
    mail_to                TEXT    NOT NULL,
    mailed_at              BIGINT NOT NULL
);
CREATE INDEX notices_of_webhook ON notices (webhook_id, raised_at, id);
CREATE INDEX notices_of_tenant ON notices (tenant, raised_at, id);

CREATE TABLE quarantine (
    log_topic     TEXT    NOT NULL,
    log_partition BIGINT NOT NULL,
    log_offset    BIGINT NOT NULL,
    reader        TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    at            BIGINT NOT NULL,
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
