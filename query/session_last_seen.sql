-- For each startup of a computer, when the computer was last seen before it: where no
-- shutdown came before the startup, that is when it crashed, as far as is known.
-- Services and the system itself log on while it boots already (logon types 0 and 5),
-- which says nothing of the time before. Startups are on the right: they are few, and
-- that side is held in memory.
SELECT toString(e.computer) AS computer, toUnixTimestamp64Milli(s.startup) AS startup_ms, toUnixTimestamp64Milli(max(e.time)) AS last_ms
FROM (
    SELECT computer, time FROM events
    WHERE company_id = {company:UInt32}
      AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
      AND ({computer:String} = '' OR computer = {computer:String})
      AND (logon_type NOT IN (0, 5) OR type = 'startup')
) AS e ASOF JOIN (
    SELECT computer, time AS startup FROM presence
    WHERE company_id = {company:UInt32} AND user = '' AND type = 'startup'
      AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
      AND ({computer:String} = '' OR computer = {computer:String})
) AS s ON e.computer = s.computer AND e.time < s.startup
GROUP BY e.computer, s.startup
