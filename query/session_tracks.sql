-- What sessions of one company are made of, in [lo, hi): one row per user, computer
-- and logon id, in the order of the table, so that neither side holds more than a row
-- of it. Rows without a user come first and are what befell the computers.
--
-- A code is milliseconds * 16 + rank. Codes sort by time, and ranks settle what comes
-- first within one millisecond, see the constants in session_walk.go. A tag is
-- site * 512 + logon type * 2 + elevated. linked_codes are the logons that name a UAC twin.
WITH pres AS (
    SELECT user, computer, logon_id, linked_logon_id, elevated, type, sid, user_name, computer_name,
           logon_type IN (7, 13) AND user != '' AS unlocking, -- a session that another logon id has
           toUnixTimestamp64Milli(time) * 16
               + if(unlocking, 7, transform(toUInt8(type), [10, 9, 2, 1, 12, 4, 6, 11, 3, 5], [1, 2, 3, 4, 5, 6, 6, 8, 9, 9], 0)) AS code,
           toUInt64(site_id) * 512 + logon_type * 2 + elevated AS tag
    FROM presence
    WHERE company_id = {company:UInt32}
      AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
      AND /*whose*/
      AND ({computer:String} = '' OR computer = {computer:String})
)
SELECT toString(user) AS user, toString(computer) AS computer, logon_id,
       toString(max(user_name)) AS user_name, toString(max(computer_name)) AS computer_name,
       groupArray(code) AS codes, groupArray(tag) AS tags,
       groupArrayIf(code, type = 'logon' AND linked_logon_id != 0 AND NOT unlocking) AS linked_codes,
       groupArrayIf(linked_logon_id, type = 'logon' AND linked_logon_id != 0 AND NOT unlocking) AS linked_ids
FROM pres
GROUP BY pres.user, pres.computer, pres.logon_id
ORDER BY pres.user, pres.computer, pres.logon_id
SETTINGS optimize_aggregation_in_order = 1
