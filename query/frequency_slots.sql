-- Counts by quarter of an hour out of the projection "activity". The quarters
-- that the range only touches are counted from the events themselves, so that
-- the projection's rows are always whole.
SELECT toInt64(toUnixTimestamp(slot)) * 1000 AS slot_ms, count() AS events
FROM (
    SELECT toStartOfFifteenMinutes(time) AS slot FROM events
    WHERE /*where*/
      AND slot >= toDateTime({first_slot:Int64}, 'UTC') AND slot < toDateTime({end_slot:Int64}, 'UTC')
)
GROUP BY slot
UNION ALL
SELECT intDiv(toUnixTimestamp64Milli(time), 900000) * 900000 AS slot_ms, count() AS events
FROM events
WHERE /*where*/
  AND time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND time < toDateTime64({first_slot:Int64}, 3, 'UTC')
GROUP BY slot_ms
UNION ALL
SELECT intDiv(toUnixTimestamp64Milli(time), 900000) * 900000 AS slot_ms, count() AS events
FROM events
WHERE /*where*/
  AND time >= toDateTime64({end_slot:Int64}, 3, 'UTC') AND time < fromUnixTimestamp64Milli({to:Int64}, 'UTC')
GROUP BY slot_ms
