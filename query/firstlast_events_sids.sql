-- The same where records name people by their SID alone: they are the person's whom
-- sid_names.sql tells. A logon or logoff of them without a logon id that a record with the
-- name tells too, within {again} milliseconds, is left out.
SELECT ms, person, person_name, computer, computer_name, type
FROM (
    SELECT ms, site_id, person, person_name, computer, computer_name, type,
           alone AND logon_id = 0 AND type IN ('logon', 'logoff')
               AND countIf(NOT alone) OVER (PARTITION BY person, computer, type ORDER BY ms RANGE BETWEEN {again:Int64} PRECEDING AND {again:Int64} FOLLOWING) > 0 AS told_again
    FROM (
        SELECT toUnixTimestamp64Milli(e.time) AS ms, e.site_id AS site_id, e.logon_id AS logon_id, n.name != '' AS alone,
               if(alone, n.name, toString(e.user)) AS person, if(alone, n.shown, toString(e.user_name)) AS person_name,
               toString(e.computer) AS computer, toString(e.computer_name) AS computer_name, e.type AS type
        FROM (
            SELECT time, site_id, logon_id, user, user_name, computer, computer_name, type
            FROM events
            WHERE /*where*/
              AND account = 'user' AND user != '' AND logon_type IN (2, 10, 11, 12, 255)
              AND type IN ('logon', 'logoff', 'lock', 'unlock', 'disconnect', 'reconnect')
        ) AS e
        GLOBAL ANY LEFT JOIN (/*sid names*/) AS n ON toString(e.computer) = n.computer AND toString(e.user) = n.sid
    )
    WHERE {user:String} = '' OR person = {user:String}
)
WHERE NOT told_again AND ms >= {from:Int64} AND ms < {to:Int64} AND (empty({sites:Array(UInt32)}) OR has({sites:Array(UInt32)}, site_id))
