-- The presence events that first-last is made of.
SELECT toUnixTimestamp64Milli(time) AS ms, toString(user) AS person, user_name AS person_name, computer, computer_name, type
FROM events
WHERE /*where*/
  AND account = 'user' AND user != '' AND logon_type IN (2, 10, 11, 12, 255)
  AND type IN ('logon', 'logoff', 'lock', 'unlock', 'disconnect', 'reconnect')
