-- +goose Up
-- What lists are sorted by has an index of the tenant's rows, with the id behind it.
DROP INDEX webhooks_of_tenant;
CREATE INDEX webhooks_by_created_at ON webhooks (tenant, created_at, id);
DROP INDEX api_keys_of_tenant;
CREATE INDEX api_keys_by_created_at ON api_keys (tenant, created_at, id);
DROP INDEX administrators_of_tenant;
CREATE INDEX administrators_by_created_at ON administrators (tenant, created_at, id);
DROP INDEX jobs_of_tenant;
CREATE INDEX jobs_by_created_at ON jobs (tenant, created_at, id);

CREATE INDEX webhooks_by_name ON webhooks (tenant, name, id);
CREATE INDEX webhooks_by_url ON webhooks (tenant, url, id);
CREATE INDEX webhooks_by_external_reference ON webhooks (tenant, external_reference, id);
CREATE INDEX webhooks_by_active ON webhooks (tenant, active, id);
CREATE INDEX webhooks_by_updated_at ON webhooks (tenant, updated_at, id);

CREATE INDEX api_keys_by_name ON api_keys (tenant, name, id);
CREATE INDEX api_keys_by_expires_at ON api_keys (tenant, expires_at, id);

CREATE INDEX administrators_by_email ON administrators (tenant, email, id);
CREATE INDEX administrators_by_name ON administrators (tenant, name, id);
CREATE INDEX administrators_by_updated_at ON administrators (tenant, updated_at, id);

CREATE INDEX tenants_by_name ON tenants (name, id);
CREATE INDEX tenants_by_created_at ON tenants (created_at, id);
CREATE INDEX tenants_by_updated_at ON tenants (updated_at, id);

CREATE INDEX jobs_by_status ON jobs (tenant, status, id);
CREATE INDEX jobs_by_webhook_id ON jobs (tenant, webhook_id, id);
CREATE INDEX jobs_by_updated_at ON jobs (tenant, updated_at, id);
CREATE INDEX jobs_by_finished_at ON jobs (tenant, finished_at, id);

-- +goose Down
DROP INDEX webhooks_by_name;
DROP INDEX webhooks_by_url;
DROP INDEX webhooks_by_external_reference;
DROP INDEX webhooks_by_active;
DROP INDEX webhooks_by_updated_at;
DROP INDEX api_keys_by_name;
DROP INDEX api_keys_by_expires_at;
DROP INDEX administrators_by_email;
DROP INDEX administrators_by_name;
DROP INDEX administrators_by_updated_at;
DROP INDEX tenants_by_name;
DROP INDEX tenants_by_created_at;
DROP INDEX tenants_by_updated_at;
DROP INDEX jobs_by_status;
DROP INDEX jobs_by_webhook_id;
DROP INDEX jobs_by_updated_at;
DROP INDEX jobs_by_finished_at;
DROP INDEX webhooks_by_created_at;
CREATE INDEX webhooks_of_tenant ON webhooks (tenant, created_at, id);
DROP INDEX api_keys_by_created_at;
CREATE INDEX api_keys_of_tenant ON api_keys (tenant, created_at, id);
DROP INDEX administrators_by_created_at;
CREATE INDEX administrators_of_tenant ON administrators (tenant, created_at, id);
DROP INDEX jobs_by_created_at;
CREATE INDEX jobs_of_tenant ON jobs (tenant, created_at, id);
