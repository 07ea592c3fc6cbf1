-- Times are Unix milliseconds in UTC: the one form that SQLite, PostgreSQL, MySQL and SQL Server store and compare alike.
-- Texts compare code by code (BIN2), as in the other databases. Those that people write have twice the length: NVARCHAR counts a character
-- beyond U+FFFF as two. Defaults of columns that come later have names, because they must be dropped before their columns.
-- Names are unique in their folded form (name_key), made by the program, so that every database means the same by it.

-- An id is never used again (IDENTITY): events carry it, and a new company must not inherit an old one's.
CREATE TABLE companies (
    id          INT IDENTITY(1, 1) NOT NULL PRIMARY KEY,
    name        NVARCHAR(400) COLLATE Latin1_General_100_BIN2 NOT NULL,
    name_key    NVARCHAR(800) COLLATE Latin1_General_100_BIN2 NOT NULL,
    timezone    NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL DEFAULT 'UTC',
    max_session BIGINT NOT NULL DEFAULT 86400,
    created_at  BIGINT NOT NULL,
    disabled_at BIGINT NULL,
    revision    BIGINT NOT NULL,
    CONSTRAINT companies_name_unique UNIQUE (name_key),
    CONSTRAINT companies_max_session_range CHECK (max_session BETWEEN 60 AND 2678400)
);

-- One row is one site of a company. The key itself is not here, only its SHA-256. A revoked key keeps its row,
-- because events name the site and reports want its description.
CREATE TABLE api_keys (
    id           INT IDENTITY(1, 1) NOT NULL PRIMARY KEY,
    company_id   INT NOT NULL,
    description  NVARCHAR(400) COLLATE Latin1_General_100_BIN2 NOT NULL,
    key_prefix   NVARCHAR(32) COLLATE Latin1_General_100_BIN2 NOT NULL,
    key_hash     NCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
    scopes       NVARCHAR(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NULL,
    disabled_at  BIGINT NULL,
    revoked_at   BIGINT NULL,
    last_used_at BIGINT NULL,
    last_used_ip NVARCHAR(90) COLLATE Latin1_General_100_BIN2 NULL,
    event_count  BIGINT NOT NULL DEFAULT 0,
    error_count  BIGINT NOT NULL DEFAULT 0,
    revision     BIGINT NOT NULL,
    CONSTRAINT api_keys_hash_unique UNIQUE (key_hash),
    CONSTRAINT api_keys_company FOREIGN KEY (company_id) REFERENCES companies (id)
);

CREATE INDEX api_keys_company_id ON api_keys (company_id);
CREATE INDEX companies_revision ON companies (revision);
CREATE INDEX api_keys_revision ON api_keys (revision);

-- A counter per topic, raised by every change, so that each process can tell cheaply that its copy in memory is stale. A
-- row's own revision is the counter's value at its last change: only such rows are read again.
CREATE TABLE revisions (
    topic    NVARCHAR(32) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);

INSERT INTO revisions (topic, revision) VALUES ('directory', 1);
