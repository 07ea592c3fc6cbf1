DROP INDEX error_log_user;
DROP INDEX error_log_request;
DROP INDEX audit_log_target;
DROP INDEX audit_log_ip;
DROP INDEX audit_log_request;
ALTER TABLE api_keys DROP COLUMN last_agent_version;
