-- Failed sign-ins, refusals by domain controllers and lockouts: a row for each
-- combination of what the report looks at, with how often and when. They are few
-- beside all events and have to be found among them, which is the cost of this report;
-- so they are read once, and everything is added up from these rows (failures_tally.go).
SELECT toUInt8(type) AS type_code, toString(user) AS user_key, toString(computer) AS computer_key, site_id,
       if(sub_status != 0, sub_status, status) AS code, source_ip, local_ip,
       toString(max(user_name)) AS user_shown, toString(max(computer_name)) AS computer_shown,
       count() AS failures, toUnixTimestamp64Milli(min(time)) AS first_ms, toUnixTimestamp64Milli(max(time)) AS last_ms,
       arraySlice(arrayReverseSort(groupArray(toUnixTimestamp64Milli(time))), 1, {most:UInt32}) AS times
FROM events
WHERE /*where*/
  AND type IN ('logon_failed', 'credential_failed', 'lockout')
GROUP BY type, user, computer, site_id, code, source_ip, local_ip
