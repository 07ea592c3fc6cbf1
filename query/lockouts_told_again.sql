-- How many of the lockouts asked for tell of one that another computer has told of already:
-- the controller on which an account is locked writes 4740, and so does the one that keeps the
-- domain's passwords (PDC emulator), moments later. Which came first is decided among all
-- of the company's, whatever the filters.
SELECT count()
FROM (
    SELECT company_id, site_id, time, type, account, user, computer, domain, logon_id, logon_type, local_ip, public_ip, source_ip, event_id,
           count() OVER before AS earlier, min(computer) OVER before AS earlier_least, max(computer) OVER before AS earlier_greatest,
           min(computer) OVER at_once AS at_once_least
    FROM events
    WHERE company_id = {company:UInt32} AND type = 'lockout'
      AND time >= fromUnixTimestamp64Milli({from:Int64} - 10000, 'UTC') AND time < fromUnixTimestamp64Milli({to:Int64}, 'UTC')
    WINDOW
        before AS (PARTITION BY user, lowerUTF8(domain), lowerUTF8(source_host) ORDER BY toUnixTimestamp64Milli(time) RANGE BETWEEN 10000 PRECEDING AND 1 PRECEDING),
        at_once AS (PARTITION BY user, lowerUTF8(domain), lowerUTF8(source_host) ORDER BY toUnixTimestamp64Milli(time) RANGE BETWEEN CURRENT ROW AND CURRENT ROW)
)
WHERE /*where*/
  AND (earlier > 0 AND (earlier_least != computer OR earlier_greatest != computer) OR at_once_least < computer)
