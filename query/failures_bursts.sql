-- Bursts by user and by address. With a user's failures in order of time, a
-- burst is a longest chain of groups of {count} failures, each group within {window},
-- where neighbouring groups share a failure.
WITH failed AS (
    SELECT user, user_name, computer, toUnixTimestamp64Milli(time) AS t,
           if(source_ip IN (toIPv6('::'), toIPv6('::1'))
              OR (source_ip >= toIPv6('::ffff:127.0.0.0') AND source_ip <= toIPv6('::ffff:127.255.255.255')), local_ip, source_ip) AS address
    FROM events
    WHERE /*where*/
),
chains AS (
    SELECT kind, name, ip, max(shown) AS shown,
           arraySort(groupArray((t, who, computer, from_ip))) AS failures,
           arrayMap(x -> x.1, failures) AS ts,
           arrayFilter((i, t, last) -> last - t <= {window:Int64},
               arrayEnumerate(ts), ts, arrayResize(arraySlice(ts, {count:UInt32}), length(ts), toInt64(9223372036854775807))) AS begins,
           arraySplit((i, before) -> i >= before + {count:UInt32}, begins, arrayPopBack(arrayPushFront(begins, toUInt32(0)))) AS runs
    FROM (
        SELECT 'user' AS kind, toString(user) AS name, toIPv6('::') AS ip, toString(user_name) AS shown, t, '' AS who, toString(computer) AS computer, address AS from_ip
        FROM failed WHERE user != ''
        UNION ALL
        SELECT 'address' AS kind, '' AS name, address AS ip, '' AS shown, t, toString(user) AS who, toString(computer) AS computer, toIPv6('::') AS from_ip
        FROM failed WHERE address != toIPv6('::')
    )
    GROUP BY kind, name, ip
    HAVING length(ts) >= {count:UInt32} AND notEmpty(begins)
)
SELECT kind, shown, ip,
       toUInt64(length(part)) AS failures_in,
       toUInt64(if(kind = 'user', 1, length(arrayDistinct(arrayFilter(x -> x != '', part.2))))) AS users,
       toUInt64(length(arrayDistinct(part.3))) AS computers,
       toUInt64(if(kind = 'address', 1, length(arrayDistinct(arrayFilter(x -> x != toIPv6('::'), part.4))))) AS addresses,
       part[1].1 AS first_ms, part[-1].1 AS last_ms
FROM (
    SELECT kind, name, shown, ip, arraySlice(failures, run[1], run[-1] + {count:UInt32} - run[1]) AS part
    FROM chains ARRAY JOIN runs AS run
)
ORDER BY first_ms DESC, kind, name, ip
LIMIT {most:UInt32}
