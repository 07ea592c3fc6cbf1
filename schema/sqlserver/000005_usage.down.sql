DROP INDEX error_log_user ON error_log;
DROP INDEX error_log_request ON error_log;
DROP INDEX audit_log_target ON audit_log;
DROP INDEX audit_log_ip ON audit_log;
DROP INDEX audit_log_request ON audit_log;
ALTER TABLE api_keys DROP COLUMN last_agent_version;
