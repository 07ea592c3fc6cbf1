-- Counts by small steps of time, where a filter needs more than the projection holds.
SELECT intDiv(toUnixTimestamp64Milli(time), {step:Int64}) * {step:Int64} AS slot_ms, count() AS events
FROM events
WHERE /*where*/
GROUP BY slot_ms
