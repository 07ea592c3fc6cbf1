-- What the lists of people go through: by username, with all that they can be filtered by, so that 100,000 people are looked through without
-- their rows. The second one tells who has an authenticator app. Together the columns are too long for a key of SQL Server.
CREATE INDEX users_list ON users (username_key) INCLUDE (email_key, role, disabled_at, approved_at);
CREATE INDEX users_totp ON users (totp_secret);
