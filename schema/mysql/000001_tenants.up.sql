-- Times are Unix milliseconds in UTC: the one form that SQLite, PostgreSQL, MySQL and SQL Server store and compare alike.
-- Texts compare byte by byte (utf8mb4_bin), as in the other databases. Each statement commits by itself: the program notes after each how far
-- it came, so that a migration that was cut off goes on where it stopped.
-- Names are unique in their folded form (name_key), made by the program, so that every database means the same by it.

-- An id is never used again (AUTO_INCREMENT): events carry it, and a new company must not inherit an old one's.
CREATE TABLE companies (
    id          INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name        VARCHAR(200) NOT NULL,
    name_key    VARCHAR(400) NOT NULL,
    timezone    VARCHAR(64)  NOT NULL DEFAULT 'UTC',
    max_session BIGINT       NOT NULL DEFAULT 86400,
    created_at  BIGINT       NOT NULL,
    disabled_at BIGINT,
    revision    BIGINT       NOT NULL,
    CONSTRAINT companies_name_unique UNIQUE (name_key),
    CONSTRAINT companies_max_session_range CHECK (max_session BETWEEN 60 AND 2678400),
    INDEX companies_revision (revision)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row is one site of a company. The key itself is not here, only its SHA-256. A revoked key keeps its row,
-- because events name the site and reports want its description.
CREATE TABLE api_keys (
    id           INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    company_id   INTEGER      NOT NULL,
    description  VARCHAR(200) NOT NULL,
    key_prefix   VARCHAR(16)  NOT NULL,
    key_hash     CHAR(64)     NOT NULL,
    scopes       VARCHAR(64)  NOT NULL,
    created_at   BIGINT       NOT NULL,
    expires_at   BIGINT,
    disabled_at  BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT,
    last_used_ip VARCHAR(45),
    event_count  BIGINT       NOT NULL DEFAULT 0,
    error_count  BIGINT       NOT NULL DEFAULT 0,
    revision     BIGINT       NOT NULL,
    CONSTRAINT api_keys_hash_unique UNIQUE (key_hash),
    CONSTRAINT api_keys_company FOREIGN KEY (company_id) REFERENCES companies (id),
    INDEX api_keys_company_id (company_id),
    INDEX api_keys_revision (revision)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A counter per topic, raised by every change, so that each process can tell cheaply that its copy in memory is stale. A
-- row's own revision is the counter's value at its last change: only such rows are read again.
CREATE TABLE revisions (
    topic    VARCHAR(32) NOT NULL PRIMARY KEY,
    revision BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO revisions (topic, revision) VALUES ('directory', 1);
