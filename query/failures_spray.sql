-- The failures of addresses at which many users failed, for the search for
-- password sprays, which walks them in this order.
WITH failed AS (
    SELECT user, toUnixTimestamp64Milli(time) AS t,
           if(source_ip IN (toIPv6('::'), toIPv6('::1'))
              OR (source_ip >= toIPv6('::ffff:127.0.0.0') AND source_ip <= toIPv6('::ffff:127.255.255.255')), local_ip, source_ip) AS address
    FROM events
    WHERE /*where*/
)
SELECT address, toString(user) AS name, t FROM failed
WHERE user != '' AND address != toIPv6('::')
  AND address IN (SELECT address FROM failed WHERE user != '' GROUP BY address HAVING uniqExact(user) >= {users:UInt32})
ORDER BY address, t, name
