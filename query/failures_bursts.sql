-- The failures of each user and of each address that may hold a burst or a spray,
-- in order of time: {count} of them within {window} milliseconds or, at an address,
-- {users} people. Names travel as hashes, since only their number matters.
WITH failed AS (
    SELECT user, user_name, computer, toUnixTimestamp64Milli(time) AS t,
           if(source_ip IN (toIPv6('::'), toIPv6('::1'), toIPv6('::ffff:0.0.0.0'))
              OR (source_ip >= toIPv6('::ffff:127.0.0.0') AND source_ip <= toIPv6('::ffff:127.255.255.255')), local_ip, source_ip) AS address
    FROM events
    WHERE /*where*/
),
subjects AS (
    SELECT kind = 1 AS of_user,
           if(kind = 1, toString(user), '') AS name,
           if(kind = 1, toIPv6('::'), address) AS ip,
           max(if(kind = 1, toString(user_name), '')) AS shown,
           arraySort(groupArray((t, if(user = '', 0, cityHash64(user)), cityHash64(computer), if(address = toIPv6('::'), 0, cityHash64(address))))) AS failures
    FROM failed ARRAY JOIN [1, 2] AS kind
    WHERE if(kind = 1, user != '', address != toIPv6('::'))
    GROUP BY kind, name, ip
    HAVING count() >= least({count:UInt32}, {users:UInt32})
)
SELECT of_user, name, ip, shown, failures.1 AS ts, failures.2 AS users, failures.3 AS computers, failures.4 AS addresses
FROM subjects
WHERE (length(ts) >= {count:UInt32}
       AND arrayExists((a, b) -> b - a <= {window:Int64}, arrayResize(ts, length(ts) + 1 - {count:UInt32}), arraySlice(ts, {count:UInt32})))
   OR (NOT of_user AND length(arrayDistinct(users)) >= {users:UInt32})
ORDER BY of_user DESC, name, ip
