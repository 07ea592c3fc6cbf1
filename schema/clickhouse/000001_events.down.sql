{{if .Cluster}}DROP TABLE IF EXISTS {{.Table "presence"}} {{.OnCluster}} SYNC;

DROP TABLE IF EXISTS {{.Table "events"}} {{.OnCluster}} SYNC;

{{end}}DROP TABLE IF EXISTS {{.Local "presence_mv"}} {{.OnCluster}} SYNC;

DROP TABLE IF EXISTS {{.Local "presence"}} {{.OnCluster}} SYNC;

DROP TABLE IF EXISTS {{.Local "events"}} {{.OnCluster}} SYNC;
