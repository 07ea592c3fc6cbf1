-- Whether any record names a person by a SID alone, in [lo, hi). Such records stand together in the order of
-- the table: of the others nothing is read.
SELECT count() > 0 AS alone
FROM (
    SELECT 1 FROM presence
    WHERE company_id = {company:UInt32} AND user LIKE 's-1-%'
      AND time >= fromUnixTimestamp64Milli({lo:Int64}) AND time < fromUnixTimestamp64Milli({hi:Int64})
      AND ({computer:String} = '' OR computer = {computer:String})
    LIMIT 1
)
