-- One page of events, newest first. The order goes on through the whole sorting
-- key, in which no two events are equal, so that pages neither overlap nor leave
-- anything out.
SELECT site_id, toUnixTimestamp64Milli(time) AS time_ms, lag_ms, toUInt8(type) AS type_code, toUInt8(account) AS account_code,
       toString(user_name) AS user_shown, toString(computer_name) AS computer_shown,
       toString(domain) AS domain_name, toString(sid) AS sid_text, logon_id, linked_logon_id, logon_type, elevated,
       local_ip, public_ip, source_ip, toString(source_host) AS source_host_name, status, sub_status,
       event_id, record_id, content_hash, toString(channel) AS channel_name, toString(provider) AS provider_name, toString(agent) AS agent_name, retry
FROM events
WHERE /*where*/
ORDER BY toDate(time) DESC, time DESC, computer DESC, user DESC, toUInt8(type) DESC, logon_id DESC, record_id DESC, event_id DESC, content_hash DESC
LIMIT {limit:UInt64}
