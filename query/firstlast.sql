-- The first and the last sign of a person on each local day. bounds are the
-- beginnings of the days; the first is the range's.
SELECT roundDown(ms, {bounds:Array(Int64)}) AS day_ms,
       person,
       max(person_name) AS shown,
       count() AS events,
       uniqExact(computer) AS computers,
       minIf(ms, type = 'logon') AS first_logon,
       maxIf(ms, type = 'logon') AS last_logon,
       maxIf(ms, type = 'logoff') AS last_logoff,
       min(ms) AS first_ms,
       max(ms) AS last_ms,
       argMin(toString(computer_name), (ms, computer_name)) AS first_computer,
       argMax(toString(computer_name), (ms, computer_name)) AS last_computer
FROM (/*events*/)
GROUP BY day_ms, person
ORDER BY day_ms, person
LIMIT {limit:UInt64} OFFSET {offset:UInt64}
