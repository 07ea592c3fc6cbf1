-- The figures of a company. A person counts as active by the same events that
-- sessions are made of. An administrator's sign-in writes two logon events at once
-- (one with full rights, each naming the other); the one with full rights is not
-- a second sign-in. Winlogon's own records name people by their SID alone; where
-- the same computer's other records give that SID a name, they tell the same again.
WITH presence_events AS (
    SELECT computer, user, sid FROM events
    WHERE /*where*/
      AND account = 'user' AND logon_type IN (2, 10, 11, 12, 255)
      AND type IN ('logon', 'logoff', 'lock', 'unlock', 'disconnect', 'reconnect')
),
named AS (
    SELECT computer, lower(sid) AS sid_name FROM presence_events
    WHERE sid != '' AND lower(sid) != user GROUP BY computer, sid_name
)
SELECT count() AS events,
       uniqExactIf(user, present AND user != '') AS active_users,
       uniqExactIf(computer, present) AS active_computers,
       uniqExact(computer) AS computers,
       countIf(present AND type = 'logon' AND NOT (elevated AND linked_logon_id != 0)) AS sign_ins,
       countIf(present AND type = 'logoff') AS sign_offs,
       countIf(type = 'logon_failed' AND account IN ('user', 'none')) AS failures,
       toUnixTimestamp64Milli(min(time)) AS first_ms,
       toUnixTimestamp64Milli(max(time)) AS last_ms,
       sumMap(map(toUInt8(type), toUInt64(1))) AS by_type
FROM (
    SELECT user, computer, type, account, elevated, linked_logon_id, time,
           account = 'user' AND logon_type IN (2, 10, 11, 12, 255)
           AND type IN ('logon', 'logoff', 'lock', 'unlock', 'disconnect', 'reconnect')
           AND NOT (startsWith(user, 's-1-5-') AND (toString(computer), toString(user)) IN (SELECT toString(computer), toString(sid_name) FROM named)) AS present
    FROM events
    WHERE /*where*/
)
