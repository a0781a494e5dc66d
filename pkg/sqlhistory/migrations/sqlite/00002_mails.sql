-- +goose Up
-- What came of mails, and what expires. The defaults are what rows of 00001 say.
ALTER TABLE notices ADD COLUMN notice_kind      TEXT DEFAULT '';
ALTER TABLE notices ADD COLUMN administrator_id TEXT DEFAULT '';
ALTER TABLE notices ADD COLUMN mail_result      TEXT DEFAULT '';
ALTER TABLE notices ADD COLUMN mail_error       TEXT DEFAULT '';
ALTER TABLE notices ADD COLUMN mail_subject     TEXT DEFAULT '';
ALTER TABLE notices ADD COLUMN mail_text        TEXT DEFAULT '';
ALTER TABLE notices ADD COLUMN expiring         BIGINT DEFAULT 0;
ALTER TABLE notices ADD COLUMN expires_at       BIGINT DEFAULT 0;
CREATE INDEX notices_mails_of_tenant ON notices (tenant, mailed_at, id) WHERE kind = 'mailed';
CREATE INDEX notices_mails_of_webhook ON notices (webhook_id, mailed_at, id) WHERE kind = 'mailed';

-- Few deliveries are suspended; of these, all tenants' are found by when they were.
CREATE INDEX deliveries_suspended ON deliveries (updated_at) WHERE status = 'suspended';

-- +goose Down
DROP INDEX deliveries_suspended;
DROP INDEX notices_mails_of_webhook;
DROP INDEX notices_mails_of_tenant;
ALTER TABLE notices DROP COLUMN notice_kind;
ALTER TABLE notices DROP COLUMN administrator_id;
ALTER TABLE notices DROP COLUMN mail_result;
ALTER TABLE notices DROP COLUMN mail_error;
ALTER TABLE notices DROP COLUMN mail_subject;
ALTER TABLE notices DROP COLUMN mail_text;
ALTER TABLE notices DROP COLUMN expiring;
ALTER TABLE notices DROP COLUMN expires_at;
