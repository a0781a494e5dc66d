-- +goose Up
-- How many deliveries a job is about (-1: not counted), and why it left some as they are. Types are the only difference
-- to PostgreSQL's file.
ALTER TABLE jobs ADD COLUMN total BIGINT NOT NULL DEFAULT -1;
ALTER TABLE jobs ADD COLUMN skips TEXT NOT NULL DEFAULT '{}';
UPDATE jobs SET skips = json_object('payload_gone', skipped) WHERE skipped > 0;
ALTER TABLE jobs DROP COLUMN skipped;
ALTER TABLE jobs RENAME COLUMN skips TO skipped;

-- +goose Down
ALTER TABLE jobs ADD COLUMN counted BIGINT NOT NULL DEFAULT 0;
UPDATE jobs SET counted = COALESCE(json_extract(skipped, '$.payload_gone'), 0) + COALESCE(json_extract(skipped, '$.unreadable'), 0);
ALTER TABLE jobs DROP COLUMN skipped;
ALTER TABLE jobs RENAME COLUMN counted TO skipped;
ALTER TABLE jobs DROP COLUMN total;
