-- +goose Up
-- How often the conditions of webhooks could not be evaluated: a row for each counter, which only grows.
CREATE TABLE webhook_condition_errors (
    webhook_id    TEXT COLLATE "C" NOT NULL,
    condition_key TEXT COLLATE "C" NOT NULL,
    counter       TEXT COLLATE "C" NOT NULL,
    tenant        TEXT COLLATE "C" NOT NULL,
    failures      BIGINT NOT NULL,
    last_error    TEXT COLLATE "C" NOT NULL,
    last_at       BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, condition_key, counter)
);

-- +goose Down
DROP TABLE webhook_condition_errors;
