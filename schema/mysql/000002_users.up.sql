-- Who may sign in to the console. Role and must_change_password are checked by the program.
CREATE TABLE users (
    id                   INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username             VARCHAR(200) NOT NULL,
    username_key         VARCHAR(400) NOT NULL,
    email                VARCHAR(254) NOT NULL,
    password_hash        VARCHAR(100) NOT NULL,
    role                 VARCHAR(32)  NOT NULL,
    must_change_password SMALLINT     NOT NULL DEFAULT 0,
    created_at           BIGINT       NOT NULL,
    disabled_at          BIGINT,
    CONSTRAINT users_username_unique UNIQUE (username_key)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
