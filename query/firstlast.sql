-- The first and the last sign of a person on each local day. bounds are the
-- beginnings of the days; the first is the range's.
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
  AND (user NOT LIKE 's-1-5-%' OR (computer, user) NOT IN (/*told again*/))
GROUP BY day_ms, name
ORDER BY day_ms, name
LIMIT {limit:UInt64} OFFSET {offset:UInt64}
