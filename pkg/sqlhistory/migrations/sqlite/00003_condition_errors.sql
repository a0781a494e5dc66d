-- +goose Up
-- How often the conditions of webhooks could not be evaluated: a row for each counter, which only grows.
CREATE TABLE webhook_condition_errors (
    webhook_id    TEXT,
    condition_key TEXT,
    counter       TEXT,
    tenant        TEXT,
    failures      BIGINT,
    last_error    TEXT,
    last_at       BIGINT,
    PRIMARY KEY (webhook_id, condition_key, counter)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE webhook_condition_errors;
