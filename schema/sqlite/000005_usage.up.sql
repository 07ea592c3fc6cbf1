-- The version that the agent said in the last event that said one; last_used_agent is what its HTTP client calls itself.
ALTER TABLE api_keys ADD COLUMN last_agent_version VARCHAR(100);

-- What the trail and the error log are searched by: a request, an address, what was changed, a person. seq and id are the order of the lists.
CREATE INDEX audit_log_request ON audit_log (request_id, seq);
CREATE INDEX audit_log_ip ON audit_log (ip, seq);
CREATE INDEX audit_log_target ON audit_log (target_id, target_kind, seq);
CREATE INDEX error_log_request ON error_log (request_id, id);
CREATE INDEX error_log_user ON error_log (user_id, id);
