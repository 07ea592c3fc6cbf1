,
lengths AS (
    SELECT * EXCEPT (presence, act),
           arrayMap((m, n) -> bitShiftRight(n, 1) - bitShiftRight(m, 1), presence, arrayPushBack(arrayPopFront(presence), presence[-1])) AS len,
           arrayMap((m, n) -> bitShiftRight(n, 1) - bitShiftRight(m, 1), act, if(empty(act), [], arrayPushBack(arrayPopFront(act), act[-1]))) AS act_len
    FROM units
),
totals AS (
    SELECT * EXCEPT (len, act_len, depth, act_depth),
           toInt64(arraySum((l, d) -> if(d > 0, l, 0), len, depth)) AS total_ms, toInt64(arraySum((l, d) -> l * d, len, depth)) AS sum_ms,
           toInt64(arraySum((l, d) -> if(d > 0, l, 0), act_len, act_depth)) AS active_ms, toInt64(arraySum((l, d) -> l * d, act_len, act_depth)) AS sum_active_ms
    FROM lengths
)
SELECT toInt64({from:Int64}) AS bucket, toString(if({by_user:UInt8} = 1, user, '')) AS group_user, toString(unit_computer) AS group_computer, unit_site AS group_site,
       max(toString(if({by_user:UInt8} = 1, unit_user_name, ''))) AS user_name, max(toString(unit_computer_name)) AS computer_name,
       uniqExact(user) AS users, sum(session_count) AS sessions, sum(inferred_count) AS inferred_sessions,
       sum(totals.total_ms) AS total_ms, sum(totals.active_ms) AS active_ms, sum(totals.sum_ms) AS sum_ms, sum(totals.sum_active_ms) AS sum_active_ms,
       min(totals.first_ms) AS first_ms, max(totals.last_ms) AS last_ms
FROM totals
GROUP BY group_user, group_computer, group_site
ORDER BY group_user, group_computer, group_site
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
