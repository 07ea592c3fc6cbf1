DROP INDEX users_totp ON users;
DROP INDEX users_list ON users;
