-- The figures of a company. A person counts as active by the same events that
-- sessions are made of. An administrator's sign-in writes two logon events at once
-- (one with full rights, each naming the other); the one with full rights is not
-- a second sign-in.
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
           AND (user NOT LIKE 's-1-5-%' OR (computer, user) NOT IN (/*told again*/)) AS present
    FROM events
    WHERE /*where*/
)
