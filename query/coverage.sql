-- Every computer that was heard of in the range or the time before it, and
-- how well it was heard within the range.
SELECT toString(computer) AS name,
       max(computer_name) AS shown,
       toUnixTimestamp64Milli(min(time)) AS first_ms,
       toUnixTimestamp64Milli(max(time)) AS last_ms,
       countIf(inside) AS events,
       countIf(inside AND type = 'logon' AND account = 'user' AND logon_type IN (2, 10, 11, 12, 255)) AS logons,
       countIf(inside AND type = 'logoff' AND account = 'user' AND logon_type IN (2, 10, 11, 12, 255)) AS logoffs,
       countIf(inside AND type IN ('lock', 'unlock')) AS locks,
       countIf(inside AND type = 'clock_changed') AS clock_changes,
       countIf(inside AND type = 'log_cleared') AS log_clears,
       countIf(inside AND lag_ms < -{tolerance:Int64}) AS ahead,
       maxIf(-lag_ms, inside AND lag_ms < -{tolerance:Int64}) AS most_ahead_ms,
       quantileExactIf(0.5)(greatest(lag_ms, 0), inside) AS lag_median_ms,
       quantileExactIf(0.95)(greatest(lag_ms, 0), inside) AS lag_p95_ms
FROM (
    SELECT computer, computer_name, time, type, account, logon_type, lag_ms,
           time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AS inside
    FROM events
    WHERE /*where*/
)
GROUP BY name
ORDER BY name
LIMIT {limit:UInt64} OFFSET {offset:UInt64}
