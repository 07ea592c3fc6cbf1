-- Winlogon's own records (7001, 7002) name people by their SID alone. This is which
-- SIDs the same computer's other records give a name, in the time that sessions look
-- at: what is recorded under such a SID tells the same again and is left out.
SELECT computer, lower(sid) FROM presence
WHERE company_id = {company:UInt32}
  AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
  AND ({computer:String} = '' OR computer = {computer:String})
  AND lower(sid) IN (SELECT user FROM presence WHERE company_id = {company:UInt32} AND user LIKE 's-1-5-%')
  AND user != lower(sid)
