-- Events, newest first. Two orders can stand below: by time alone, for which no other
-- column has to be read of all the events that are looked through, and the exact one,
-- which goes on through the whole sorting key, in which no two events are equal.
SELECT site_id, toUnixTimestamp64Milli(time) AS time_ms, lag_ms, toUInt8(type) AS type_code, toUInt8(account) AS account_code,
       user_name, computer_name, domain, sid, logon_id, linked_logon_id, logon_type, elevated,
       local_ip, public_ip, source_ip, source_host, status, sub_status, event_id, record_id, content_hash, channel, provider, agent, retry
FROM events
WHERE /*where*/
ORDER BY /*order*/
LIMIT {limit:UInt64}
