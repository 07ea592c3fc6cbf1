,
-- The sessions that touch the range, with their unpaused stretches inside it.
touching AS (
    SELECT user, user_name, if({by_computer:UInt8} = 1, computer, '') AS unit_computer, if({by_computer:UInt8} = 1, computer_name, '') AS unit_computer_name,
           if({by_site:UInt8} = 1, site_id, 0) AS unit_site, end_confidence != 'logged' AS guessed,
           greatest(start, {from:Int64}) AS s, least(until, {to:Int64}) AS e,
           arrayFilter(x -> x.2 > {from:Int64} AND x.1 < {to:Int64}, active) AS inside
    FROM sessions
    WHERE start < {to:Int64} AND (until > {from:Int64} OR start >= {from:Int64}) AND ({site:UInt32} = 0 OR site_id = {site:UInt32})
),
-- What is counted as one: a person, or a person at one computer or site.
-- presence and act hold the starts (even) and ends (odd) of a unit's sessions and
-- of their unpaused stretches, clipped to the range. Walking them in order, depth
-- says how many are open: where it is above 0, time counts once for the union
-- and depth times for the plain sum.
marked AS (
    SELECT user, unit_computer, unit_site, max(user_name) AS unit_user_name, max(unit_computer_name) AS unit_computer_name,
           count() AS session_count, countIf(guessed) AS inferred_count, min(s) AS first_ms, max(e) AS last_ms,
           arraySort(arrayConcat(groupArray(s * 2), groupArray(e * 2 + 1))) AS presence,
           arraySort(arrayConcat(
               groupArrayArray(arrayMap(x -> greatest(x.1, {from:Int64}) * 2, inside)),
               groupArrayArray(arrayMap(x -> least(x.2, {to:Int64}) * 2 + 1, inside)))) AS act
    FROM touching
    GROUP BY user, unit_computer, unit_site
),
units AS (
    SELECT *,
           arrayCumSum(m -> toInt64(1 - 2 * bitAnd(m, 1)), presence) AS depth,
           arrayCumSum(m -> toInt64(1 - 2 * bitAnd(m, 1)), act) AS act_depth
    FROM marked
)
