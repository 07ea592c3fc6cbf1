-- Every accepted event, once. The order within a partition puts a company's
-- day together and in it each computer's events in time: one company's range is
-- a few contiguous stretches, and neighbours in a column are alike, which is
-- what makes a row small. Rows with equal sorting keys are the same event.
CREATE TABLE IF NOT EXISTS {{.Local "events"}} {{.OnCluster}} (
    company_id      UInt32                 CODEC(ZSTD(1)),
    site_id         UInt32                 CODEC(ZSTD(1)),
    time            DateTime64(3, 'UTC')   CODEC(Delta, ZSTD(1)),
    lag_ms          Int64                  CODEC(T64, ZSTD(1)),
    type            {{.EventTypes}}        CODEC(ZSTD(1)),
    account         {{.Accounts}}          CODEC(ZSTD(1)),
    user            LowCardinality(String) CODEC(ZSTD(1)),
    user_name       LowCardinality(String) CODEC(ZSTD(1)),
    computer        LowCardinality(String) CODEC(ZSTD(1)),
    computer_name   LowCardinality(String) CODEC(ZSTD(1)),
    domain          LowCardinality(String) CODEC(ZSTD(1)),
    sid             LowCardinality(String) CODEC(ZSTD(1)),
    logon_id        UInt64                 CODEC(ZSTD(1)),
    linked_logon_id UInt64                 CODEC(ZSTD(1)),
    logon_type      UInt8                  CODEC(ZSTD(1)),
    elevated        Bool                   CODEC(ZSTD(1)),
    local_ip        IPv6                   CODEC(ZSTD(1)),
    public_ip       IPv6                   CODEC(ZSTD(1)),
    source_ip       IPv6                   CODEC(ZSTD(1)),
    source_host     LowCardinality(String) CODEC(ZSTD(1)),
    status          UInt32                 CODEC(ZSTD(1)),
    sub_status      UInt32                 CODEC(ZSTD(1)),
    event_id        UInt16                 CODEC(ZSTD(1)),
    record_id       UInt64                 CODEC(Delta, ZSTD(1)),
    content_hash    UInt64                 CODEC(ZSTD(1)),
    channel         LowCardinality(String) CODEC(ZSTD(1)),
    provider        LowCardinality(String) CODEC(ZSTD(1)),
    agent           LowCardinality(String) CODEC(ZSTD(1)),
    retry           UInt16                 CODEC(ZSTD(1)),

    -- When Gatehouse took it. Kept as the distance from time, which is small
    -- and packs well where a second clock would not.
    received DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(toUnixTimestamp64Milli(time) + lag_ms, 'UTC'),
    -- The event's identity, as event.ID computes it. Derived, never stored:
    -- 16 bytes that do not compress would be most of the row.
    id FixedString(16) ALIAS substring(SHA256(concat(
        toString(company_id), '\0', toString(computer), '\0', toString(user), '\0', toString(toUInt8(type)), '\0',
        toString(toUnixTimestamp64Milli(time)), '\0', toString(logon_id), '\0', toString(record_id), '\0',
        toString(event_id), '\0', toString(content_hash), '\0')), 1, 16),

    -- Frequency: counts by quarter of an hour, so that whole hours come out
    -- right in zones of half and quarter hours too. It lives inside each part and
    -- is written with it in one step, so it can neither lag nor count twice.
    PROJECTION activity (
        SELECT company_id, toStartOfFifteenMinutes(time) AS slot, type, account, logon_type, site_id, count()
        GROUP BY company_id, slot, type, account, logon_type, site_id
    )
)
ENGINE = {{.Engine "events" "MergeTree"}}
PARTITION BY toYYYYMM(time)
ORDER BY (company_id, toDate(time), computer, time, user, type, logon_id, record_id, event_id, content_hash)
SETTINGS {{.Durable}};

-- What sessions are made of: people's presence (logon types 2, 10, 11, 12 and
-- those of agents that give none), the logons of type 7 and 13 by which Windows
-- writes that a session was unlocked, and what a computer's power did to it, in
-- the order in which sessions are put together. Computers' own rows have no user and so
-- stand together at the front of each company. A row that is here twice is one
-- row: sessions are a function of the set.
CREATE TABLE IF NOT EXISTS {{.Local "presence"}} {{.OnCluster}} (
    company_id      UInt32                 CODEC(ZSTD(1)),
    computer        LowCardinality(String) CODEC(ZSTD(1)),
    user            LowCardinality(String) CODEC(ZSTD(1)),
    logon_id        UInt64                 CODEC(ZSTD(1)),
    time            DateTime64(3, 'UTC')   CODEC(Delta, ZSTD(1)),
    type            {{.EventTypes}}        CODEC(ZSTD(1)),
    linked_logon_id UInt64                 CODEC(ZSTD(1)),
    logon_type      UInt8                  CODEC(ZSTD(1)),
    elevated        Bool                   CODEC(ZSTD(1)),
    site_id         UInt32                 CODEC(ZSTD(1)),
    sid             LowCardinality(String) CODEC(ZSTD(1)),
    user_name       LowCardinality(String) CODEC(ZSTD(1)),
    computer_name   LowCardinality(String) CODEC(ZSTD(1))
)
ENGINE = {{.Engine "presence" "ReplacingMergeTree"}}
PARTITION BY toYYYYMM(time)
ORDER BY (company_id, user, computer, logon_id, time, type, linked_logon_id, logon_type, elevated, site_id, sid, user_name, computer_name)
SETTINGS {{.Durable}};

CREATE MATERIALIZED VIEW IF NOT EXISTS {{.Local "presence_mv"}} {{.OnCluster}} TO {{.Local "presence"}} AS
SELECT company_id, computer, user, logon_id, time, type, linked_logon_id, logon_type, elevated, site_id, sid, user_name, computer_name
FROM {{.Local "events"}}
WHERE (account = 'user' AND logon_type IN (2, 10, 11, 12, 255)
       AND type IN ('logon', 'logoff', 'lock', 'unlock', 'disconnect', 'reconnect'))
   OR (account = 'user' AND logon_type IN (7, 13) AND type IN ('logon', 'unlock'))
   OR type IN ('startup', 'shutdown', 'sleep', 'wake');
{{if .Cluster}}
CREATE TABLE IF NOT EXISTS {{.Table "events"}} {{.OnCluster}} AS {{.Local "events"}} ENGINE = {{.Distributed "events"}};

CREATE TABLE IF NOT EXISTS {{.Table "presence"}} {{.OnCluster}} AS {{.Local "presence"}} ENGINE = {{.Distributed "presence"}};
{{end}}