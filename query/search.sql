-- One page of events, newest first. The order goes on through the whole sorting
-- key, in which no two events are equal, so that pages neither overlap nor leave
-- anything out.
SELECT site_id, toUnixTimestamp64Milli(time) AS time_ms, lag_ms, toUInt8(type) AS type_code, toUInt8(account) AS account_code,
       user_name, computer_name, domain, sid, logon_id, linked_logon_id, logon_type, elevated,
       local_ip, public_ip, source_ip, source_host, status, sub_status, event_id, record_id, content_hash, channel, provider, agent, retry
FROM events
WHERE /*where*/
ORDER BY toDate(time) DESC, time DESC, computer DESC, user DESC, type DESC, logon_id DESC, record_id DESC, event_id DESC, content_hash DESC
LIMIT {limit:UInt64}
