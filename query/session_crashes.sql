-- When each computer was last seen before a startup that no shutdown came before.
-- Services and the system itself log on while it boots already (logon types 0 and
-- 5), which says nothing of the time before.
--
-- One boot writes several startups (Kernel-General 12, 4608, 6005): those within a
-- minute of another one are the same boot.
WITH
boots AS (
    SELECT computer, arraySort(groupArray(toUnixTimestamp64Milli(time) * 16 + if(type = 'startup', 2, 1))) AS written,
           arrayFilter((x, before) -> NOT (bitAnd(x, 15) = 2 AND bitAnd(before, 15) = 2 AND bitShiftRight(x, 4) - bitShiftRight(before, 4) < 60000),
                       written, arrayPopBack(arrayPushFront(written, toInt64(0)))) AS switches
    FROM presence
    WHERE company_id = {company:UInt32} AND user = '' AND type IN ('startup', 'shutdown')
      AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
      AND ({computer:String} = '' OR computer = {computer:String})
    GROUP BY computer
),
crashed AS (
    SELECT computer, fromUnixTimestamp64Milli(bitShiftRight(boot, 4), 'UTC') AS boot
    FROM boots ARRAY JOIN arrayFilter((x, before) -> bitAnd(x, 15) = 2 AND bitAnd(before, 15) != 1,
                                      switches, arrayPopBack(arrayPushFront(switches, toInt64(0)))) AS boot
)
SELECT toString(c.computer) AS computer, toUnixTimestamp64Milli(e.time) AS last
FROM crashed AS c ASOF JOIN (
    SELECT computer, time FROM events
    WHERE company_id = {company:UInt32}
      AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
      AND logon_type NOT IN (0, 5) AND computer IN (SELECT computer FROM crashed)
) AS e ON c.computer = e.computer AND c.boot > e.time
