-- +goose Up
-- How many deliveries a job is about (-1: not counted), and why it left some as they are; how many in all stays
-- beside it, for the version before. Types are the only difference to SQLite's file.
ALTER TABLE jobs ADD COLUMN total BIGINT NOT NULL DEFAULT -1;
ALTER TABLE jobs ADD COLUMN skipped_for JSONB NOT NULL DEFAULT '{}';
UPDATE jobs SET skipped_for = jsonb_build_object('payload_gone', skipped) WHERE skipped > 0;

-- +goose Down
ALTER TABLE jobs DROP COLUMN skipped_for;
ALTER TABLE jobs DROP COLUMN total;
