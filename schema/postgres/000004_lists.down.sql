DROP INDEX users_totp;
DROP INDEX users_list;
