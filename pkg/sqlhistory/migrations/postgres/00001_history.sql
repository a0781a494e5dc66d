-- +goose Up
-- Times are Unix nanoseconds, 0: never. Three tables have a partition for each day (UTC) of received_at,
-- made ahead and dropped behind. Texts sort by their bytes, as in SQLite.
-- The keys begin with the tenant, so that they serve a tenant's list of all as well.
CREATE TABLE deliveries (
    received_at        BIGINT NOT NULL,
    id                 TEXT COLLATE "C" NOT NULL,
    tenant             TEXT COLLATE "C" NOT NULL,
    webhook_id         TEXT COLLATE "C" NOT NULL,
    event_id           TEXT COLLATE "C" NOT NULL,
    event_type         TEXT COLLATE "C" NOT NULL,
    external_reference TEXT COLLATE "C" NOT NULL,
    run                TEXT COLLATE "C" NOT NULL,
    step               BIGINT NOT NULL,
    run_id             TEXT COLLATE "C" NOT NULL,
    cause              TEXT COLLATE "C" NOT NULL,
    attempt            BIGINT NOT NULL,
    status             TEXT COLLATE "C" NOT NULL,
    suspend_reason     TEXT COLLATE "C" NOT NULL,
    next_attempt_at    BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    log_topic          TEXT COLLATE "C" NOT NULL,
    log_partition      BIGINT NOT NULL,
    log_offset         BIGINT NOT NULL,
    PRIMARY KEY (tenant, received_at, id)
) PARTITION BY RANGE (received_at);
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
    delivery_id TEXT COLLATE "C" NOT NULL,
    started_at  BIGINT NOT NULL,
    run_id      TEXT COLLATE "C" NOT NULL,
    attempt     BIGINT NOT NULL,
    kind        TEXT COLLATE "C" NOT NULL,
    tenant      TEXT COLLATE "C" NOT NULL,
    webhook_id  TEXT COLLATE "C" NOT NULL,
    event_id    TEXT COLLATE "C" NOT NULL,
    finished_at BIGINT NOT NULL,
    status      TEXT COLLATE "C" NOT NULL,
    status_code BIGINT NOT NULL,
    error_code  TEXT COLLATE "C" NOT NULL,
    detail      TEXT   NOT NULL,
    PRIMARY KEY (received_at, delivery_id, started_at, run_id, attempt, kind)
) PARTITION BY RANGE (received_at);
-- What the matcher says of an event beside its deliveries.
CREATE INDEX attempts_of_event ON attempts (tenant, event_id) WHERE kind = 'condition_error';

CREATE TABLE events (
    received_at        BIGINT NOT NULL,
    log_topic          TEXT COLLATE "C" NOT NULL,
    log_partition      BIGINT NOT NULL,
    log_offset         BIGINT NOT NULL,
    id                 TEXT COLLATE "C" NOT NULL,
    tenant             TEXT COLLATE "C" NOT NULL,
    type               TEXT COLLATE "C" NOT NULL,
    external_reference TEXT COLLATE "C" NOT NULL,
    occurred_at        BIGINT NOT NULL,
    api_key_id         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, received_at, id, log_topic, log_partition, log_offset)
) PARTITION BY RANGE (received_at);
CREATE INDEX events_id ON events (tenant, id);
CREATE INDEX events_type ON events (tenant, type, received_at, id);
CREATE INDEX events_reference ON events (tenant, external_reference, received_at, id) WHERE external_reference <> '';

-- Mirrors of `states` and of what attempts say, one row for each webhook.
CREATE TABLE webhook_states (
    webhook_id             TEXT COLLATE "C" PRIMARY KEY,
    tenant                 TEXT COLLATE "C"     NOT NULL,
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
    disable_reason         TEXT COLLATE "C"     NOT NULL,
    disabled_until         BIGINT  NOT NULL,
    warned_at              BIGINT  NOT NULL,
    last_status_code       BIGINT  NOT NULL,
    last_error             TEXT COLLATE "C"     NOT NULL
);

CREATE TABLE webhook_activity (
    webhook_id        TEXT COLLATE "C" PRIMARY KEY,
    tenant            TEXT COLLATE "C"    NOT NULL,
    last_triggered_at BIGINT NOT NULL,
    last_success_at   BIGINT NOT NULL
);

CREATE TABLE notices (
    id                     TEXT COLLATE "C" PRIMARY KEY,
    kind                   TEXT COLLATE "C"    NOT NULL,
    tenant                 TEXT COLLATE "C"    NOT NULL,
    webhook_id             TEXT COLLATE "C"    NOT NULL,
    generation             BIGINT NOT NULL,
    fail_streak            BIGINT NOT NULL,
    fail_streak_started_at BIGINT NOT NULL,
    raised_at              BIGINT NOT NULL,
    last_status_code       BIGINT NOT NULL,
    last_error             TEXT COLLATE "C"    NOT NULL,
    notice_id              TEXT COLLATE "C"    NOT NULL,
    mail_to                TEXT COLLATE "C"    NOT NULL,
    mailed_at              BIGINT NOT NULL
);
CREATE INDEX notices_of_webhook ON notices (webhook_id, raised_at, id);
CREATE INDEX notices_of_tenant ON notices (tenant, raised_at, id);

CREATE TABLE quarantine (
    log_topic     TEXT COLLATE "C"    NOT NULL,
    log_partition BIGINT NOT NULL,
    log_offset    BIGINT NOT NULL,
    reader        TEXT COLLATE "C"    NOT NULL,
    reason        TEXT COLLATE "C"    NOT NULL,
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
