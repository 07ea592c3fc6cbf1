-- Who may sign in to the console. Role and must_change_password are checked by the program.
CREATE TABLE users (
    id                   INT IDENTITY(1, 1) NOT NULL PRIMARY KEY,
    username             NVARCHAR(400) COLLATE Latin1_General_100_BIN2 NOT NULL,
    username_key         NVARCHAR(800) COLLATE Latin1_General_100_BIN2 NOT NULL,
    email                NVARCHAR(508) COLLATE Latin1_General_100_BIN2 NOT NULL,
    password_hash        NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,
    role                 NVARCHAR(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
    must_change_password SMALLINT NOT NULL DEFAULT 0,
    created_at           BIGINT NOT NULL,
    disabled_at          BIGINT NULL,
    CONSTRAINT users_username_unique UNIQUE (username_key)
);
