-- The first and the last sign of a person on each local day. bounds are the
-- beginnings of the days; the first is the range's. Winlogon's own records name
-- people by their SID alone; where the same computer's other records give that SID
-- a name, they tell the same again and are left out.
WITH named AS (
    SELECT computer, lower(sid) AS sid_name FROM events
    WHERE /*where*/
      AND account = 'user' AND user != '' AND logon_type IN (2, 10, 11, 12, 255)
      AND type IN ('logon', 'logoff', 'lock', 'unlock', 'disconnect', 'reconnect')
      AND sid != '' AND lower(sid) != user
    GROUP BY computer, sid_name
)
SELECT roundDown(toUnixTimestamp64Milli(time), {bounds:Array(Int64)}) AS day_ms,
       toString(user) AS name,
       max(user_name) AS shown,
       count() AS events,
       uniqExact(computer) AS computers,
       minIf(toUnixTimestamp64Milli(time), type = 'logon') AS first_logon,
       maxIf(toUnixTimestamp64Milli(time), type = 'logon') AS last_logon,
       maxIf(toUnixTimestamp64Milli(time), type = 'logoff') AS last_logoff,
       min(toUnixTimestamp64Milli(time)) AS first_ms,
       max(toUnixTimestamp64Milli(time)) AS last_ms,
       argMin(toString(computer_name), (time, computer_name)) AS first_computer,
       argMax(toString(computer_name), (time, computer_name)) AS last_computer
FROM events
WHERE /*where*/
  AND account = 'user' AND user != '' AND logon_type IN (2, 10, 11, 12, 255)
  AND type IN ('logon', 'logoff', 'lock', 'unlock', 'disconnect', 'reconnect')
  AND NOT (startsWith(user, 's-1-5-') AND (toString(computer), toString(user)) IN (SELECT toString(computer), toString(sid_name) FROM named))
GROUP BY day_ms, name
ORDER BY day_ms, name
LIMIT {limit:UInt64} OFFSET {offset:UInt64}
