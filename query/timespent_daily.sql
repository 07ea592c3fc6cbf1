,
-- The stretches between neighbouring marks (kind 0 presence, 1 active), cut at
-- local midnights: bucket i is [bounds[i], bounds[i + 1]). Kind 2 carries no time, but
-- the first and last moment of presence and so the days of sessions of no length.
neighbours AS (
    SELECT user, unit_computer, unit_site, unit_user_name, unit_computer_name, arrayConcat(
               arrayMap((m, n, d) -> (bitShiftRight(m, 1), bitShiftRight(n, 1), d, 0), presence, arrayPushBack(arrayPopFront(presence), presence[-1]), depth),
               arrayMap((m, n, d) -> (bitShiftRight(m, 1), bitShiftRight(n, 1), d, 1), act, if(empty(act), [], arrayPushBack(arrayPopFront(act), act[-1])), act_depth)) AS all_pairs
    FROM units
),
stretches AS (
    SELECT user, unit_computer, unit_site, unit_user_name, unit_computer_name, p.1 AS s, p.2 AS e, p.3 AS d, p.4 AS kind
    FROM neighbours ARRAY JOIN arrayFilter(p -> p.3 > 0 AND p.2 > p.1, all_pairs) AS p
),
pieces AS (
    SELECT user, unit_computer, unit_site, unit_user_name, unit_computer_name, kind, d, bucket,
           greatest(s, {bounds:Array(Int64)}[bucket]) AS piece_start, least(e, {bounds:Array(Int64)}[bucket + 1]) AS piece_end, 0 AS inferred
    FROM (
        SELECT *, arrayJoin(range(toUInt32(arrayCount(b -> b <= s, {bounds:Array(Int64)})), toUInt32(arrayCount(b -> b < e, {bounds:Array(Int64)})) + 1)) AS bucket
        FROM stretches
    )
    UNION ALL
    SELECT user, unit_computer, unit_site, user_name AS unit_user_name, unit_computer_name, 2 AS kind, toInt64(1) AS d, bucket,
           greatest(s, {bounds:Array(Int64)}[bucket]) AS piece_start, least(e, {bounds:Array(Int64)}[bucket + 1]) AS piece_end,
           toUInt8(guessed) AS inferred
    FROM (
        SELECT *, arrayJoin(range(toUInt32(head), toUInt32(greatest(head, arrayCount(b -> b < e, {bounds:Array(Int64)}))) + 1)) AS bucket
        FROM (SELECT *, arrayCount(b -> b <= s, {bounds:Array(Int64)}) AS head FROM touching)
    )
)
SELECT {bounds:Array(Int64)}[pieces.bucket] AS bucket, toString(if({by_user:UInt8} = 1, user, '')) AS group_user, toString(unit_computer) AS group_computer, unit_site AS group_site,
       max(toString(if({by_user:UInt8} = 1, unit_user_name, ''))) AS user_name, max(toString(unit_computer_name)) AS computer_name,
       uniqExact(user) AS users, countIf(kind = 2) AS sessions, countIf(kind = 2 AND inferred = 1) AS inferred_sessions,
       sumIf(piece_end - piece_start, kind = 0) AS total_ms, sumIf(piece_end - piece_start, kind = 1) AS active_ms,
       sumIf((piece_end - piece_start) * d, kind = 0) AS sum_ms, sumIf((piece_end - piece_start) * d, kind = 1) AS sum_active_ms,
       minIf(piece_start, kind = 2) AS first_ms, maxIf(piece_end, kind = 2) AS last_ms
FROM pieces
GROUP BY bucket, group_user, group_computer, group_site
ORDER BY bucket, group_user, group_computer, group_site
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
