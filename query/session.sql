-- Sessions of one company out of the presence events in [lo, hi), as docs/reports.md
-- defines them. The plain Go of the same rules is in session_reference_test.go.
-- Change both or neither.
--
-- An event travels as one number, so that the steps below are loops over plain
-- arrays: milliseconds * 16 + rank. Numbers sort by time, then by rank, which also
-- settles what comes first within one millisecond:
--   1 shutdown, 2 startup, 3 logoff, 4 logon, 5 wake, 6 unlock or reconnect,
--   7 sleep, 8 lock or disconnect, 9 a logon that is the UAC twin of an open one,
--   15 the computer went down without a word, placed at the last event seen before.
-- Ranks 1, 2, 3 and 15 are ends; 4 and 6 open a session.
WITH
pres AS (
    SELECT computer, user, logon_id AS id, linked_logon_id AS linked, elevated, type, sid, user_name, computer_name, site_id, logon_type,
           toUnixTimestamp64Milli(time) AS t,
           toUInt8(transform(toUInt8(type), [10, 9, 2, 1, 12, 4, 6, 11, 3, 5], [1, 2, 3, 4, 5, 6, 6, 7, 8, 8], 0)) AS rank,
           t * 16 + rank AS code
    FROM presence
    WHERE company_id = {company:UInt32}
      AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
      AND ({user:String} = '' OR user = {user:String} OR user = '')
      AND ({computer:String} = '' OR computer = {computer:String})
),
-- The two logon ids that UAC gives an administrator stand for one session: both
-- map to the lower.
links AS (
    SELECT computer, user, arrayJoin([id, linked]) AS twin, min(least(id, linked)) AS low
    FROM pres WHERE type = 'logon' AND linked != 0 AND id != 0
    GROUP BY computer, user, twin
),
-- Winlogon's own records (7001, 7002) name people by their SID alone. Where the same
-- computer's other records give that SID a name, they tell the same again and are left out.
named AS (
    SELECT computer, lower(sid) FROM pres
    WHERE lower(sid) IN (SELECT user FROM pres WHERE user LIKE 's-1-5-%') AND user != lower(sid)
    GROUP BY computer, sid
),
-- One boot writes several startups (Kernel-General 12, 4608, 6005): those within a
-- minute of another one are the same boot.
boots AS (
    SELECT computer, arraySort(groupArray(code)) AS all_switches,
           arrayFilter((x, before) -> NOT (bitAnd(x, 15) = 2 AND bitAnd(before, 15) = 2 AND bitShiftRight(x, 4) - bitShiftRight(before, 4) < 60000),
                       all_switches, arrayPopBack(arrayPushFront(all_switches, toInt64(0)))) AS switches,
           arrayFilter((x, before) -> bitAnd(x, 15) = 2 AND bitAnd(before, 15) != 1,
                       switches, arrayPopBack(arrayPushFront(switches, toInt64(0)))) AS crashes
    FROM pres WHERE user = '' AND type IN ('startup', 'shutdown') GROUP BY computer
),
-- A startup that no shutdown came before ended whatever was open, at the last
-- event seen from that computer before it. Services and the system itself log on
-- while it boots already (types 0 and 5), which says nothing of the time before.
crashed AS (
    SELECT computer, fromUnixTimestamp64Milli(bitShiftRight(arrayJoin(crashes), 4), 'UTC') AS boot FROM boots
),
power AS (
    SELECT computer, arraySort(groupArray(code)) AS power FROM (
        SELECT computer, code FROM pres WHERE user = '' AND type IN ('sleep', 'wake')
        UNION ALL
        SELECT computer, arrayJoin(switches) AS code FROM boots
        UNION ALL
        SELECT c.computer AS computer, toUnixTimestamp64Milli(e.time) * 16 + 15 AS code
        FROM crashed AS c ASOF JOIN (
            SELECT computer, time FROM events
            WHERE company_id = {company:UInt32}
              AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
              AND logon_type NOT IN (0, 5) AND computer IN (SELECT computer FROM crashed)
        ) AS e ON c.computer = e.computer AND c.boot > e.time
    ) GROUP BY computer
),
-- opener_codes and opener_tags say by which site and with which logon type each
-- opening came. They are carried on only where a key has more than one.
tracks AS (
    SELECT computer, user, id, groupArray(code) AS own,
           groupArrayIf((code, id, linked), type = 'logon' AND linked != 0) AS linked_logons,
           groupArrayIf(code, rank IN (4, 6)) AS opener_codes,
           groupArrayIf(site_id * 256 + logon_type, rank IN (4, 6)) AS opener_tags,
           max(elevated) AS elevated, max(user_name) AS user_name, max(computer_name) AS computer_name
    FROM pres WHERE user != '' AND (user NOT LIKE 's-1-5-%' OR (computer, user) NOT IN (SELECT * FROM named)) GROUP BY computer, user, id
),
keys AS (
    SELECT r.computer AS computer, r.user AS user, if(l.low != 0, l.low, r.id) AS logon_id,
           groupArrayArray(r.own) AS own, arraySort(groupArrayArray(r.linked_logons)) AS linked_logons,
           groupArrayArray(r.opener_codes) AS codes, groupArrayArray(r.opener_tags) AS tags,
           -- The tag of every logon and that of every other opening, 0 where they differ.
           arrayMin((t, c) -> if(bitAnd(c, 15) = 4, t, 18446744073709551615), tags, codes) AS logon_tag,
           arrayMin((t, c) -> if(bitAnd(c, 15) = 6, t, 18446744073709551615), tags, codes) AS other_tag,
           arrayExists((t, c) -> t != if(bitAnd(c, 15) = 4, logon_tag, other_tag), tags, codes) AS mixed,
           if(mixed, arraySort(arrayZip(codes, tags)), []) AS opener_tags,
           max(r.elevated) AS elevated, max(r.user_name) AS user_name, max(r.computer_name) AS computer_name
    FROM tracks AS r LEFT JOIN links AS l ON r.computer = l.computer AND r.user = l.user AND r.id = l.twin
    GROUP BY computer, user, logon_id
),
-- One line of events per key: its own and, from its first event to the first end
-- after its last, what befell the computer. The line is cut into segments: a
-- segment begins with a logon or after an end.
--
-- From here on each step is a query of its own: an alias used twice within one
-- SELECT is analysed twice, and ten steps deep that takes longer than the data.
spans AS (
    SELECT k.computer AS computer, k.user AS user, logon_id, k.user_name AS user_name, k.computer_name AS computer_name,
           elevated, logon_tag, other_tag, opener_tags, linked_logons, own,
           p.power AS power, arrayMin(own) AS first, arrayMax(own) AS final
    FROM keys AS k LEFT JOIN power AS p ON k.computer = p.computer
),
nearby AS (
    SELECT * EXCEPT power, arrayFilter(x -> x >= first AND (x <= after OR after = 0), power) AS power
    FROM (SELECT *, arrayFirst(x -> x > final AND bitAnd(x, 15) IN (1, 2, 15), power) AS after FROM spans)
),
plain AS (
    SELECT * EXCEPT (own, power), arraySort(arrayConcat(own, power)) AS plain FROM nearby
),
twins AS (
    SELECT *, if(empty(linked_logons), [], arrayFilter((h, g) -> h.3 = g.2 AND h.1 > g.1 AND NOT arrayExists(
                   x -> x > g.1 AND x < h.1 AND bitAnd(x, 15) IN (1, 2, 3, 4, 15), plain),
               linked_logons, arrayPopBack(arrayPushFront(linked_logons, (toInt64(0), toUInt64(0), toUInt64(0))))).1) AS twins
    FROM plain
),
lines AS (
    SELECT * EXCEPT (plain, twins, linked_logons), if(empty(twins), plain, arrayMap(x -> if(has(twins, x), x + 5, x), plain)) AS ev FROM twins
),
cut AS (
    SELECT * EXCEPT ev,
           arraySplit((x, before) -> bitAnd(x, 15) = 4 OR bitAnd(before, 15) IN (1, 2, 3, 15),
                      ev, arrayPopBack(arrayPushFront(ev, toInt64(0)))) AS segs
    FROM lines
),
-- next is the logon that comes right after a segment, 0 where none does.
pieces_of AS (
    SELECT * EXCEPT segs, seg, next
    FROM cut ARRAY JOIN segs AS seg, arrayMap(s -> if(bitAnd(s[1], 15) = 4, bitShiftRight(s[1], 4), 0), arrayPushBack(arrayPopFront(segs), [])) AS next
),
opened AS (
    SELECT * EXCEPT seg,
           arrayMap(x -> bitShiftRight(x, 4), seg) AS ts,
           arrayMap(x -> toUInt8(bitAnd(x, 15)), seg) AS ranks,
           arrayFilter(x -> bitAnd(x, 15) IN (4, 6), seg) AS openers
    FROM pieces_of
    WHERE arrayExists(x -> bitAnd(x, 15) IN (4, 6), seg)
),
states AS (
    SELECT * EXCEPT ranks, ranks[-1] AS tail,
           arrayFill(x -> x != 2, arrayMap(k -> toUInt8(transform(k, [4, 6, 8], [0, 0, 1], 2)), ranks)) AS away,
           arrayFill(x -> x != 2, arrayMap(k -> toUInt8(transform(k, [4, 6, 5, 7], [0, 0, 0, 1], 2)), ranks)) AS asleep
    FROM opened
),
segments AS (
    SELECT computer, user, logon_id, user_name, computer_name, elevated, logon_tag, other_tag, opener_tags, tail,
           multiIf(tail IN (1, 3, 15), ts[-1], tail = 2, ts[-2], next != 0, next, toInt64(9223372036854775807)) AS closed_at,
           -- Without a logged logoff a session lasts no longer than max, and what opens after that is a new one.
           if(tail = 3 OR openers[-1] < openers[1] + {max:Int64} * 16,
              [openers[1]],
              arrayFold((chain, x) -> if(bitShiftRight(x, 4) >= bitShiftRight(chain[-1], 4) + {max:Int64}, arrayPushBack(chain, x), chain),
                        arrayPopFront(openers), [openers[1]])) AS chain,
           arrayFilter((x, a, z) -> a != 1 AND z != 1,
               arrayZip(ts, arrayPushBack(arrayPopFront(ts), toInt64(9223372036854775807))), away, asleep) AS awake
    FROM states
),
starts AS (
    SELECT *, opener, bitShiftRight(opener, 4) AS start,
           multiIf(notEmpty(opener_tags), opener_tags.2[indexOf(opener_tags.1, opener)], bitAnd(opener, 15) = 4, logon_tag, other_tag) AS tag
    FROM segments ARRAY JOIN chain AS opener
),
lasts AS (
    SELECT *, if(tail = 3, closed_at, least(closed_at, start + {max:Int64})) AS ended FROM starts
),
bounded AS (
    SELECT *, greatest(start, least(ended, {now:Int64})) AS until,
           multiIf(ended > {now:Int64}, 'open', tail = 3, 'logoff', ended < closed_at, 'max_session',
                   tail = 1, 'shutdown', tail IN (2, 15), 'startup', 'superseded') AS end_reason
    FROM lasts
),
actives AS (
    SELECT *, arrayFilter(x -> x.2 > x.1, arrayMap(x -> (greatest(x.1, start), least(x.2, until)), awake)) AS active
    FROM bounded
    -- Two logons of one key in the same millisecond are one.
    WHERE NOT (end_reason = 'superseded' AND ended = start)
),
sessions AS (
    SELECT computer, user, logon_id, user_name, computer_name, elevated, start, until, end_reason, active,
           bitAnd(opener, 15) = 4 AS signed_in,
           toUInt32(bitShiftRight(tag, 8)) AS site_id, toUInt8(bitAnd(tag, 255)) AS logon_type,
           multiIf(end_reason = 'open', 'open', end_reason IN ('logoff', 'shutdown'), 'logged', 'inferred') AS end_confidence,
           toInt64(arraySum(x -> x.2 - x.1, active)) AS active_ms,
           until - start - active_ms AS paused_ms
    FROM actives
)
