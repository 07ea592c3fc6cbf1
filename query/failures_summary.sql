-- The figures above the rows. Lockouts and refusals by domain controllers are
-- other events about the same attempts: counted apart, never added.
SELECT countIf(has({types:Array(UInt8)}, toUInt8(type))) AS failures,
       uniqExactIf(user, has({types:Array(UInt8)}, toUInt8(type)) AND user != '') AS users,
       uniqExactIf(computer, has({types:Array(UInt8)}, toUInt8(type))) AS computers,
       countIf(type = 'logon_failed') AS logon_failed,
       countIf(type = 'credential_failed') AS credential_failed,
       countIf(type = 'lockout') AS lockouts
FROM events
WHERE /*where*/
  AND type IN ('logon_failed', 'credential_failed', 'lockout')
