-- People, what they may do where, how they prove who they are, and the trails of what was done.
--
-- A person's role is one of GlobalAdmin, Admin, User; it says what they are over all companies. A membership says what they
-- are in one: Admin (an operator to whom the company is assigned), CompanyAdmin or User. The program checks both.

ALTER TABLE users
    ADD COLUMN display_name VARCHAR(200) NOT NULL DEFAULT '',
    ADD COLUMN email_key VARCHAR(254) NOT NULL DEFAULT '',
    -- inherit, required or not_required: whether a second factor is asked for.
    ADD COLUMN mfa_policy VARCHAR(16) NOT NULL DEFAULT 'inherit',
    -- NULL: registered by themselves and waiting for approval.
    ADD COLUMN approved_at BIGINT,
    -- Raised by whatever must end the person's sessions and tokens at once: each of them carries the epoch that it was made in.
    ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN password_changed_at BIGINT,
    ADD COLUMN last_login_at BIGINT,
    ADD COLUMN last_login_ip VARCHAR(45),
    -- Sealed with a key that is not in the database. totp_pending is set up but not yet confirmed with a code.
    ADD COLUMN totp_secret VARCHAR(400),
    ADD COLUMN totp_pending VARCHAR(400),
    -- The time step of the last code that was accepted: none up to it is accepted again.
    ADD COLUMN totp_step BIGINT NOT NULL DEFAULT 0,
    -- Names the person to authenticators; random, so that it tells them nothing.
    ADD COLUMN webauthn_handle VARCHAR(100);

UPDATE users SET email_key = LOWER(email), approved_at = created_at, role = 'GlobalAdmin';
CREATE UNIQUE INDEX users_email_unique ON users (email_key);
CREATE INDEX users_role ON users (role);

CREATE TABLE memberships (
    user_id    INTEGER     NOT NULL,
    company_id INTEGER     NOT NULL,
    role       VARCHAR(16) NOT NULL,
    created_at BIGINT      NOT NULL,
    CONSTRAINT memberships_pk PRIMARY KEY (user_id, company_id),
    CONSTRAINT memberships_user FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT memberships_company FOREIGN KEY (company_id) REFERENCES companies (id),
    INDEX memberships_company_id (company_id, user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE recovery_codes (
    id        INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id   INTEGER     NOT NULL,
    code_hash VARCHAR(64) NOT NULL,
    used_at   BIGINT,
    CONSTRAINT recovery_codes_unique UNIQUE (user_id, code_hash),
    CONSTRAINT recovery_codes_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A passkey. credential is what the WebAuthn library keeps of it, as JSON: a public key and counters, no secret.
CREATE TABLE webauthn_credentials (
    id              INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id         INTEGER      NOT NULL,
    credential_hash VARCHAR(64)  NOT NULL,
    name            VARCHAR(200) NOT NULL,
    credential      MEDIUMTEXT   NOT NULL,
    created_at      BIGINT       NOT NULL,
    last_used_at    BIGINT,
    CONSTRAINT webauthn_credentials_unique UNIQUE (credential_hash),
    CONSTRAINT webauthn_credentials_user FOREIGN KEY (user_id) REFERENCES users (id),
    INDEX webauthn_credentials_user_id (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Who a person is at an OpenID Connect provider.
CREATE TABLE user_identities (
    id         INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id    INTEGER      NOT NULL,
    issuer     VARCHAR(400) NOT NULL,
    subject    VARCHAR(255) NOT NULL,
    -- SHA-256 of issuer and subject: the pair itself is too long for an index in some databases.
    identity_hash VARCHAR(64) NOT NULL,
    created_at BIGINT       NOT NULL,
    CONSTRAINT user_identities_unique UNIQUE (identity_hash),
    CONSTRAINT user_identities_user FOREIGN KEY (user_id) REFERENCES users (id),
    INDEX user_identities_user_id (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A browser's session. id_hash is the SHA-256 of what the cookie holds; data is sealed. user_id is NULL before sign-in.
CREATE TABLE web_sessions (
    id_hash      VARCHAR(64)  NOT NULL PRIMARY KEY,
    user_id      INTEGER,
    epoch        BIGINT       NOT NULL DEFAULT 0,
    data         MEDIUMTEXT   NOT NULL,
    created_at   BIGINT       NOT NULL,
    last_seen_at BIGINT       NOT NULL,
    expires_at   BIGINT       NOT NULL,
    ip           VARCHAR(45)  NOT NULL DEFAULT '',
    user_agent   VARCHAR(255) NOT NULL DEFAULT '',
    CONSTRAINT web_sessions_user FOREIGN KEY (user_id) REFERENCES users (id),
    INDEX web_sessions_user_id (user_id),
    INDEX web_sessions_expires_at (expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row is one refresh token; a family is all that came from one sign-in. A used one that comes again ends its family.
CREATE TABLE refresh_tokens (
    id         INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id    INTEGER      NOT NULL,
    epoch      BIGINT       NOT NULL,
    family     VARCHAR(64)  NOT NULL,
    token_hash VARCHAR(64)  NOT NULL,
    scopes     VARCHAR(64)  NOT NULL DEFAULT '',
    second_factor SMALLINT NOT NULL DEFAULT 0,
    created_at BIGINT       NOT NULL,
    expires_at BIGINT       NOT NULL,
    used_at    BIGINT,
    revoked_at BIGINT,
    ip         VARCHAR(45)  NOT NULL DEFAULT '',
    user_agent VARCHAR(255) NOT NULL DEFAULT '',
    CONSTRAINT refresh_tokens_hash_unique UNIQUE (token_hash),
    CONSTRAINT refresh_tokens_user FOREIGN KEY (user_id) REFERENCES users (id),
    INDEX refresh_tokens_user_id (user_id),
    INDEX refresh_tokens_family (family)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE personal_tokens (
    id           INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id      INTEGER      NOT NULL,
    name         VARCHAR(200) NOT NULL,
    token_prefix VARCHAR(16)  NOT NULL,
    token_hash   VARCHAR(64)  NOT NULL,
    scopes       VARCHAR(64)  NOT NULL,
    created_at   BIGINT       NOT NULL,
    expires_at   BIGINT       NOT NULL,
    revoked_at   BIGINT,
    last_used_at BIGINT,
    last_used_ip VARCHAR(45),
    CONSTRAINT personal_tokens_hash_unique UNIQUE (token_hash),
    CONSTRAINT personal_tokens_user FOREIGN KEY (user_id) REFERENCES users (id),
    INDEX personal_tokens_user_id (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Failures to sign in: of an account from anywhere, and from one known device. subject is a hash of both.
CREATE TABLE lockouts (
    subject      VARCHAR(64) NOT NULL PRIMARY KEY,
    failures     INTEGER     NOT NULL,
    locked_until BIGINT      NOT NULL,
    updated_at   BIGINT      NOT NULL,
    INDEX lockouts_updated_at (updated_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE settings (
    name       VARCHAR(64)   NOT NULL PRIMARY KEY,
    value      VARCHAR(2000) NOT NULL,
    updated_at BIGINT        NOT NULL,
    updated_by VARCHAR(200)  NOT NULL DEFAULT ''
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Domains whose people may register by themselves. Empty: of any domain, where registration is on.
CREATE TABLE email_domains (
    domain     VARCHAR(253) NOT NULL PRIMARY KEY,
    created_at BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The second secret of a key while it is being exchanged, the networks that it may be used from, and who used it last.
ALTER TABLE api_keys
    ADD COLUMN note VARCHAR(1000) NOT NULL DEFAULT '',
    ADD COLUMN old_key_prefix VARCHAR(16),
    ADD COLUMN old_key_hash CHAR(64),
    ADD COLUMN old_key_until BIGINT,
    ADD COLUMN rotated_at BIGINT,
    ADD COLUMN networks VARCHAR(2000) NOT NULL DEFAULT '',
    ADD COLUMN last_used_agent VARCHAR(100);

-- Events of a key by day in UTC, days since 1970-01-01.
CREATE TABLE key_days (
    key_id      INTEGER NOT NULL,
    day         INTEGER NOT NULL,
    event_count BIGINT  NOT NULL,
    error_count BIGINT  NOT NULL,
    CONSTRAINT key_days_pk PRIMARY KEY (key_id, day),
    CONSTRAINT key_days_key FOREIGN KEY (key_id) REFERENCES api_keys (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What was done, by whom. Each row's hash covers the row and the hash before it, so that a changed or missing row shows.
-- Names are copied: a row must tell who it was after the person is gone. seq has no gaps.
CREATE TABLE audit_log (
    seq         BIGINT        NOT NULL PRIMARY KEY,
    at          BIGINT        NOT NULL,
    action      VARCHAR(64)   NOT NULL,
    outcome     VARCHAR(16)   NOT NULL,
    actor_kind  VARCHAR(16)   NOT NULL,
    actor_id    BIGINT        NOT NULL DEFAULT 0,
    actor_name  VARCHAR(200)  NOT NULL DEFAULT '',
    company_id  BIGINT        NOT NULL DEFAULT 0,
    target_kind VARCHAR(32)   NOT NULL DEFAULT '',
    target_id   VARCHAR(64)   NOT NULL DEFAULT '',
    target_name VARCHAR(200)  NOT NULL DEFAULT '',
    ip          VARCHAR(45)   NOT NULL DEFAULT '',
    via         VARCHAR(100)  NOT NULL DEFAULT '',
    request_id  VARCHAR(64)   NOT NULL DEFAULT '',
    before_json MEDIUMTEXT    NOT NULL,
    after_json  MEDIUMTEXT    NOT NULL,
    detail      VARCHAR(1000) NOT NULL DEFAULT '',
    prev_hash   VARCHAR(64)   NOT NULL,
    hash        VARCHAR(64)   NOT NULL,
    INDEX audit_log_at (at),
    INDEX audit_log_company (company_id, seq),
    INDEX audit_log_actor (actor_id, seq)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Where the trail begins after old rows were removed, and where it ends: one row.
CREATE TABLE audit_head (
    id         INTEGER     NOT NULL PRIMARY KEY,
    first_seq  BIGINT      NOT NULL,
    first_hash VARCHAR(64) NOT NULL,
    last_seq   BIGINT      NOT NULL,
    last_hash  VARCHAR(64) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO audit_head (id, first_seq, first_hash, last_seq, last_hash) VALUES (1, 1, '', 0, '');

-- Errors of the program. Equal ones within a short time are one row with a count.
CREATE TABLE error_log (
    id          INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    first_at    BIGINT        NOT NULL,
    last_at     BIGINT        NOT NULL,
    occurrences BIGINT        NOT NULL,
    level       INTEGER       NOT NULL,
    logger      VARCHAR(100)  NOT NULL DEFAULT '',
    message     VARCHAR(2000) NOT NULL,
    fingerprint VARCHAR(64)   NOT NULL,
    request_id  VARCHAR(64)   NOT NULL DEFAULT '',
    user_id     BIGINT        NOT NULL DEFAULT 0,
    ip          VARCHAR(45)   NOT NULL DEFAULT '',
    attributes  MEDIUMTEXT    NOT NULL,
    stack       MEDIUMTEXT    NOT NULL,
    INDEX error_log_last_at (last_at),
    INDEX error_log_fingerprint (fingerprint, last_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
