-- +goose Up
-- The catalogues of tenants. The id is tenant/type. Schema and example are JSON as it was given but for its spaces, or
-- empty. Times as in 00001; types are the only difference to PostgreSQL's file.
CREATE TABLE event_types (
    id          TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL REFERENCES tenants (id),
    type        TEXT NOT NULL,
    "group"     TEXT    NOT NULL,
    description TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    schema      TEXT    NOT NULL,
    example     TEXT    NOT NULL,
    deprecated  BOOLEAN NOT NULL,
    attributes  TEXT    NOT NULL,
    profile     TEXT    NOT NULL,
    version     BIGINT  NOT NULL,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    UNIQUE (tenant, type)
);

-- +goose Down
DROP TABLE event_types;
