-- The figures of a company that are counts of events, by type. What people did comes
-- from their sessions, see totals.go.
SELECT toUInt8(type) AS type_code, count() AS events, countIf(account IN ('user', 'none')) AS of_people,
       groupUniqArray(toString(computer)) AS computers,
       toUnixTimestamp64Milli(min(time)) AS first_ms, toUnixTimestamp64Milli(max(time)) AS last_ms
FROM events
WHERE /*where*/
GROUP BY type
