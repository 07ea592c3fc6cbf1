-- Winlogon's own records (7001, 7002) name people by their SID alone. This is who they
-- are: for every SID that stands for a user of a computer in [lo, hi), the name that the
-- computer's other records give it, the latest where they give several; else the one that
-- other computers' give it, if they all agree (the SIDs of cloned computers may be several
-- people's). Names are looked for in all time: the Security log is often the shorter one.
SELECT alone.computer AS computer, alone.sid AS sid, tupleElement(named.names[greatest(own, 1)], 1) AS name, tupleElement(named.names[greatest(own, 1)], 2) AS shown
FROM (
    SELECT DISTINCT toString(computer) AS computer, toString(user) AS sid
    FROM presence
    WHERE company_id = {company:UInt32} AND user LIKE 's-1-%'
      AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
      AND ({computer:String} = '' OR computer = {computer:String})
) AS alone
GLOBAL INNER JOIN (
    SELECT sid, groupArray(computer) AS computers, groupArray(latest) AS names, length(arrayDistinct(arrayMap(n -> n.1, names))) AS different
    FROM (
        SELECT lower(sid) AS sid, toString(computer) AS computer, argMax((toString(user), toString(shown)), (last, user)) AS latest
        FROM ( -- few rows, before anything is done with texts
            SELECT sid, computer, user, max(time) AS last, max(user_name) AS shown
            FROM presence
            WHERE company_id = {company:UInt32} AND sid != '' AND user != '' AND user NOT LIKE 's-1-%'
              AND lower(presence.sid) IN (SELECT user FROM presence WHERE company_id = {company:UInt32} AND user LIKE 's-1-%')
            GROUP BY sid, computer, user
        )
        GROUP BY sid, computer
    )
    GROUP BY sid
) AS named ON alone.sid = named.sid
WHERE (indexOf(named.computers, alone.computer) AS own) > 0 OR named.different = 1
ORDER BY computer, sid
