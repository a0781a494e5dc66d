-- +goose Up
-- What came of mails, and what expires. The defaults are what rows of 00001 say.
ALTER TABLE notices
    ADD COLUMN notice_kind      TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN administrator_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN mail_result      TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN mail_error       TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN mail_subject     TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN mail_text        TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN expiring         BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN expires_at       BIGINT NOT NULL DEFAULT 0;
CREATE INDEX notices_mails_of_tenant ON notices (tenant, mailed_at, id) WHERE kind = 'mailed';
CREATE INDEX notices_mails_of_webhook ON notices (webhook_id, mailed_at, id) WHERE kind = 'mailed';

-- Few deliveries are suspended; of these, all tenants' are found by when they were.
CREATE INDEX deliveries_suspended ON deliveries (updated_at) WHERE status = 'suspended';

-- +goose Down
DROP INDEX deliveries_suspended;
DROP INDEX notices_mails_of_webhook;
DROP INDEX notices_mails_of_tenant;
ALTER TABLE notices
    DROP COLUMN notice_kind,
    DROP COLUMN administrator_id,
    DROP COLUMN mail_result,
    DROP COLUMN mail_error,
    DROP COLUMN mail_subject,
    DROP COLUMN mail_text,
    DROP COLUMN expiring,
    DROP COLUMN expires_at;
