-- The record ids of each log, in the order of time. A log's numbering begins
-- anew where an id falls below the one before it: at the record that says that
-- the log was cleared, or by more than {drop}; smaller steps back are records
-- written at the same moment. What is missing is counted within each numbering.
WITH logs AS (
    SELECT computer, channel,
           arraySort(groupArray((toUnixTimestamp64Milli(time), record_id, type = 'log_cleared'))) AS records,
           arraySplit((r, before) -> r.2 < before.2 AND (r.3 OR before.2 - r.2 > {drop:UInt64}),
               records, arrayPopBack(arrayPushFront(records, records[1]))) AS numberings
    FROM events
    WHERE /*where*/
      AND record_id != 0 AND computer >= {first:String} AND computer <= {last:String}
    GROUP BY computer, channel
)
SELECT name, log, count() AS numberings, sum(length(ids)) AS held, toUInt64(sum(ids[-1] - ids[1] + 1 - length(ids))) AS missing,
       max(arrayMax(steps)) AS largest, sum(arrayCount(s -> s > 0, steps)) AS gaps
FROM (
    SELECT toString(computer) AS name, toString(channel) AS log,
           arraySort(arrayDistinct(n.2)) AS ids,
           arrayMap((id, before) -> toUInt64(id - before - 1), arrayPopFront(ids), arrayPopBack(ids)) AS inner_steps,
           arrayPushBack(inner_steps, toUInt64(0)) AS steps
    FROM logs ARRAY JOIN numberings AS n
)
GROUP BY name, log
ORDER BY name, log
