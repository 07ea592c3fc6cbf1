-- Failed sign-ins by user, computer, address, code or site. address is where the
-- attempt came from: the source, or the computer's own address when it was
-- made at the computer itself.
WITH failed AS (
    SELECT user, user_name, computer, computer_name, site_id, time, if(sub_status != 0, sub_status, status) AS code,
           if(source_ip IN (toIPv6('::'), toIPv6('::1'), toIPv6('::ffff:0.0.0.0'))
              OR (source_ip >= toIPv6('::ffff:127.0.0.0') AND source_ip <= toIPv6('::ffff:127.255.255.255')), local_ip, source_ip) AS address
    FROM events
    WHERE /*where*/
)
SELECT multiIf({by:String} = 'user', toString(user), {by:String} = 'computer', toString(computer), '') AS name,
       if({by:String} = 'address', address, toIPv6('::')) AS ip,
       if({by:String} = 'reason', transform(code, {codes:Array(UInt32)}, {code_keys:Array(UInt32)}, code), 0) AS reason,
       if({by:String} = 'site', site_id, 0) AS site,
       max(multiIf({by:String} = 'user', toString(user_name), {by:String} = 'computer', toString(computer_name), '')) AS shown,
       count() AS failures,
       uniqExactIf(user, user != '') AS users,
       uniqExact(computer) AS computers,
       uniqExactIf(address, address != toIPv6('::')) AS addresses,
       sumMap(map(code, toUInt64(1))) AS code_counts,
       toUnixTimestamp64Milli(min(time)) AS first_ms,
       toUnixTimestamp64Milli(max(time)) AS last_ms
FROM failed
GROUP BY name, ip, reason, site
ORDER BY failures DESC, name, ip, reason, site
LIMIT {limit:UInt64} OFFSET {offset:UInt64}
