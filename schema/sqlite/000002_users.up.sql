-- Who may sign in to the console. Role and must_change_password are checked by the program.
CREATE TABLE users (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    username             VARCHAR(200) NOT NULL,
    username_key         VARCHAR(400) NOT NULL,
    email                VARCHAR(254) NOT NULL,
    password_hash        VARCHAR(100) NOT NULL,
    role                 VARCHAR(32)  NOT NULL,
    must_change_password SMALLINT     NOT NULL DEFAULT 0,
    created_at           BIGINT       NOT NULL,
    disabled_at          BIGINT,
    CONSTRAINT users_username_unique UNIQUE (username_key)
);
