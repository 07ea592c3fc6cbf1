-- Counts by user, computer or site: what {by} says is the row's name.
SELECT multiIf({by:String} = 'user', toString(user), {by:String} = 'computer', toString(computer), '') AS name,
       if({by:String} = 'site', site_id, 0) AS site,
       max(multiIf({by:String} = 'user', toString(user_name), {by:String} = 'computer', toString(computer_name), '')) AS shown,
       count() AS events,
       uniqExactIf(user, user != '') AS users,
       uniqExact(computer) AS computers,
       toUnixTimestamp64Milli(min(time)) AS first_ms,
       toUnixTimestamp64Milli(max(time)) AS last_ms
FROM events
WHERE /*where*/
GROUP BY name, site
ORDER BY events DESC, name, site
LIMIT {limit:UInt64} OFFSET {offset:UInt64}
