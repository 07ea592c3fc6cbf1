// Package config reads Gatehouse's settings: defaults, then config.ini, then the environment. Each setting stands once, as a
// field below, with its default, its rule and its explanation; the reader, the checks, the environment names, the
// generated config.ini and the redacted dump all come from there.
//
// It checks the form of values, not whether the things they name are there: that is for the part that uses them.
package config

import "time"

// Config holds all settings. The tags are: `default` as it would be written in config.ini; `env`, further names
// besides GATEHOUSE_SECTION_KEY; `rule`, see rules; `doc`.
type Config struct {
	Server     Server     `section:"server" doc:"Where Gatehouse listens."`
	Database   Database   `section:"database" doc:"The relational database: companies, users, API keys."`
	ClickHouse ClickHouse `section:"clickhouse" doc:"Where events are stored."`
	Engine     Engine     `section:"engine" doc:"The embedded ClickHouse. Not used when [clickhouse] url is set."`
	Ingest     Ingest     `section:"ingest" doc:"How events are taken and written."`
	Spool      Spool      `section:"spool" doc:"The queue on disk between the acknowledgement of an event and ClickHouse."`
	Logging    Logging    `section:"logging" doc:"The program's own log, on standard error."`
	App        App        `section:"app" doc:"Defaults for companies, and the first start."`
}

// Server is the section [server].
type Server struct {
	Host            string        `key:"host" default:"127.0.0.1" doc:"Address to listen on. 0.0.0.0 or :: listens on all interfaces."`
	Port            int           `key:"port" default:"8000" rule:"min=0 max=65535" doc:"Port to listen on. 0 takes a free one, which is printed and written to serve.json."`
	Listen          string        `key:"listen" rule:"hostport" doc:"HOST:PORT in one, instead of host and port. The flag --listen overrides it."`
	TLS             bool          `key:"tls" default:"true" doc:"Serve HTTPS. Without ssl_certfile a self-signed certificate is made in the data directory. Turn it off only behind a proxy that does TLS."`
	CertFile        string        `key:"ssl_certfile" doc:"PEM file of the certificate, with its intermediates. It is read again when it changes."`
	KeyFile         string        `key:"ssl_keyfile" doc:"PEM file of the certificate's private key."`
	ReadTimeout     time.Duration `key:"read_timeout" default:"60s" rule:"min=1s max=1h" doc:"How long a client may take to send a request. Slower ones are cut off."`
	IdleTimeout     time.Duration `key:"idle_timeout" default:"120s" rule:"min=1s max=1h" doc:"How long an idle connection is kept for the client's next request."`
	MaxConnections  int           `key:"max_connections" default:"10000" rule:"min=1 max=1000000" doc:"Connections at a time. Further ones wait to be accepted."`
	ShutdownTimeout time.Duration `key:"shutdown_timeout" default:"30s" rule:"min=1s max=10m" doc:"How long running requests may go on after a stop is asked for."`
}

// Database is the section [database].
type Database struct {
	URL Secret `key:"url" env:"DATABASE_URL" rule:"database" doc:"sqlite:///path/to/file.db or postgresql://user:password@host:5432/database. Empty: gatehouse.db in the data directory."`
}

// ClickHouse is the section [clickhouse].
type ClickHouse struct {
	URL     Secret `key:"url" env:"CLICKHOUSE_URL" rule:"httpurl" doc:"http://user:password@host:8123 or https://… of a ClickHouse server or cluster. Empty: the embedded engine."`
	Name    string `key:"database" default:"gatehouse" rule:"identifier" doc:"Name of the database in ClickHouse."`
	Cluster string `key:"cluster" rule:"identifier" doc:"Name of the cluster, as in the server's remote_servers. Tables are then replicated and distributed over it. Empty: a single server."`
}

// Engine is the section [engine].
type Engine struct {
	MemoryLimit Size   `key:"memory_limit" default:"0" rule:"max=1TiB" doc:"Memory that the engine may use for queries and inserts. 0: 1.2GiB, or 60 % of the machine's memory where that is less. Queries beyond it fail, so a machine with much memory should say more."`
	Threads     int    `key:"threads" default:"0" rule:"min=0 max=1024" doc:"Threads for one query. 0: as many as there are CPUs."`
	Library     string `key:"library" doc:"Path of libchdb.so. Empty: it is looked for where make installs it."`
}

// Ingest is the section [ingest].
type Ingest struct {
	MaxRecords      int           `key:"max_records" default:"50000" rule:"min=1 max=1000000" doc:"Events in one request. More is refused with 413."`
	MaxBytes        Size          `key:"max_bytes" default:"32MiB" rule:"min=64KiB max=1GiB" doc:"Size of one request, unpacked. More is refused with 413."`
	RateLimit       int           `key:"rate_limit" default:"0" rule:"min=0 max=100000000" doc:"Events a second that each API key may send on average; more is answered with 429. 0: no limit."`
	BlockRows       int           `key:"block_rows" default:"100000" rule:"min=1 max=1000000" doc:"Events in one block that is written to ClickHouse. Larger blocks cost less work and more memory."`
	BlockDelay      time.Duration `key:"block_delay" default:"500ms" rule:"min=10ms max=1m" doc:"The longest that an event waits for its block to fill."`
	Writers         int           `key:"writers" default:"2" rule:"min=1 max=64" doc:"Blocks written at the same time."`
	RetentionMonths int           `key:"retention_months" default:"0" rule:"min=0 max=600" doc:"Events older than this many months are deleted. 0 keeps them for ever."`
}

// Spool is the section [spool].
type Spool struct {
	MaxBytes    Size `key:"max_bytes" default:"8GiB" rule:"min=64MiB max=16TiB" doc:"Disk that events not yet in ClickHouse may take. When it is full, new events are refused with 503 and nothing is dropped."`
	SegmentSize Size `key:"segment_size" default:"64MiB" rule:"min=1MiB max=1GiB" doc:"Size of one file of the queue."`
}

// Logging is the section [logging].
type Logging struct {
	Level  string `key:"level" default:"info" rule:"oneof=debug|info|warn|error" doc:"The least important messages to log."`
	Format string `key:"format" default:"text" rule:"oneof=text|json" doc:"How messages are written."`
}

// App is the section [app].
type App struct {
	Timezone      string        `key:"timezone" default:"UTC" rule:"zone" doc:"Time zone of new companies."`
	MaxSession    time.Duration `key:"max_session" default:"24h" rule:"min=1m max=744h" doc:"In new companies, a session without an end counts as ended after this time."`
	AdminPassword Secret        `key:"admin_password" env:"GATEHOUSE_ADMIN_PASSWORD" rule:"maxlen=72" doc:"Password of the first administrator, used at the first start only. It must be changed at the first sign-in. Empty: the documented one."`
}

// Secret is a text that must not be shown. It prints as stars; Reveal gives it.
type Secret string

// Reveal is the text itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the text, also in logs and formatted output.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "********"
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText hides the text from JSON and slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
