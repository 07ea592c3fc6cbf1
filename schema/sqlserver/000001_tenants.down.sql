DROP TABLE revisions;
DROP TABLE api_keys;
DROP TABLE companies;
