// Package config reads Gatehouse's settings: defaults, then config.ini, then the environment. Each setting stands once, as a
// field below, with its default, its rule and its explanation; the reader, the checks, the environment names, the
// generated config.ini and the redacted dump all come from there.
//
// It checks the form of values, not whether the things they name are there: that is for the part that uses them.
package config

import (
	"net/netip"
	"time"
)

// Config holds all settings. The tags are: `default` as it would be written in config.ini; `env`, further names
// besides GATEHOUSE_SECTION_KEY; `rule`, see rules; `doc`.
type Config struct {
	Server       Server       `section:"server" doc:"Where and how Gatehouse listens."`
	Database     Database     `section:"database" doc:"The relational database: companies, users, API keys."`
	ClickHouse   ClickHouse   `section:"clickhouse" doc:"Where events are stored."`
	Engine       Engine       `section:"engine" doc:"The embedded ClickHouse. Not used when [clickhouse] url is set."`
	Ingest       Ingest       `section:"ingest" doc:"How events are taken and written."`
	Spool        Spool        `section:"spool" doc:"The queue on disk between the acknowledgement of an event and ClickHouse."`
	Session      Session      `section:"session" doc:"People who are signed in."`
	Security     Security     `section:"security" doc:"Secrets, passwords and what browsers are told."`
	OIDC         OIDC         `section:"oidc" doc:"Sign-in with an identity provider (OpenID Connect). Off without an issuer."`
	RateLimiting RateLimiting `section:"rate_limiting" doc:"How often somebody may try. Each limit is a number per time, such as 10/1m; 0 is none. The limit of events is [ingest] rate_limit."`
	Cache        Cache        `section:"cache" doc:"Redis, and what is sent to browsers compressed."`
	Proxy        Proxy        `section:"proxy" doc:"Reverse proxies in front of Gatehouse, see docs/proxy.md. Without trusted, nobody's X-Forwarded headers are believed."`
	Logging      Logging      `section:"logging" doc:"The program's own log, on standard error. What of it is kept for administrators is theirs to set while the server runs: gatehouse settings, error_log_…"`
	App          App          `section:"app" doc:"Defaults for companies, and the first start."`

	notices []string
}

// Server is the section [server].
type Server struct {
	Host             string        `key:"host" env:"HOST" default:"127.0.0.1" doc:"Address to listen on. 0.0.0.0 or :: listens on all interfaces."`
	Port             int           `key:"port" env:"PORT" default:"8000" rule:"min=0 max=65535" doc:"Port to listen on. 0 takes a free one, which is printed and written to serve.json."`
	Listen           string        `key:"listen" rule:"hostport" doc:"HOST:PORT in one, instead of host and port. The flag --listen overrides it."`
	TLS              bool          `key:"tls" default:"true" doc:"Serve HTTPS. Without ssl_certfile a self-signed certificate is made in the data directory. Turn it off only behind a proxy that does TLS."`
	CertFile         string        `key:"ssl_certfile" env:"SSL_CERTFILE" doc:"PEM file of the certificate, with its intermediates. It is read again when it changes. A relative path in config.ini begins at the folder of config.ini."`
	KeyFile          string        `key:"ssl_keyfile" env:"SSL_KEYFILE" doc:"PEM file of the certificate's private key."`
	HTTPRedirectPort int           `key:"http_redirect_port" default:"0" rule:"min=0 max=65535" doc:"Port, on the same address, that sends browsers from plain HTTP to HTTPS; programs (/api/) are refused there, so that nobody sends keys unencrypted without noticing. 0: none."`
	HeaderTimeout    time.Duration `key:"header_timeout" default:"10s" rule:"min=100ms max=5m" doc:"How long a client may take for the head of a request. Slower ones are cut off."`
	ReadTimeout      time.Duration `key:"read_timeout" default:"60s" rule:"min=1s max=1h" doc:"How long a client may take to send a whole request. Slower ones are cut off."`
	IdleTimeout      time.Duration `key:"idle_timeout" default:"120s" rule:"min=1s max=1h" doc:"How long an idle connection is kept for the client's next request."`
	MaxHeaderBytes   Size          `key:"max_header_bytes" default:"64KiB" rule:"min=4KiB max=1MiB" doc:"Size of a request's head. Larger ones are refused with 431."`
	MaxConnections   int           `key:"max_connections" default:"10000" rule:"min=1 max=1000000" doc:"Connections at a time. Further ones wait to be accepted."`
	MaxPerAddress    int           `key:"max_connections_per_address" default:"2500" rule:"min=0 max=1000000" doc:"Connections at a time from one address (IPv6: one /64 network), so that nobody alone can use up all of them. Further ones are closed. Trusted proxies may have any number. 0: no limit."`
	ShutdownTimeout  time.Duration `key:"shutdown_timeout" default:"30s" rule:"min=1s max=10m" doc:"How long running requests may go on after a stop is asked for."`
}

// Database is the section [database].
type Database struct {
	URL Secret `key:"url" env:"DATABASE_URL" rule:"database" doc:"sqlite:///path/to/file.db, postgresql://user:password@host:5432/database, or mysql://, mariadb://, sqlserver:// likewise. Empty: gatehouse.db in the data directory."`
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
	MaxBytes        Size          `key:"max_bytes" default:"32MiB" rule:"min=64KiB max=48MiB" doc:"Size of one request, unpacked. More is refused with 413. The events of a request go into the queue together, which takes a quarter of [spool] max_bytes at once."`
	RateLimit       int           `key:"rate_limit" default:"0" rule:"min=0 max=100000000" doc:"Events a second that each API key may send on average; more is answered with 429. Ten seconds' worth is saved up at most, and may come at once; a larger request passes when that much is saved (which it may never be while others send with the same key), and the key waits then until its average is kept. Servers that share a Redis count together. Imports are not limited. 0: no limit."`
	BlockRows       int           `key:"block_rows" default:"65536" rule:"min=1 max=1000000" doc:"Events in one block that is written to ClickHouse. Larger blocks cost ClickHouse a little less work and this process more memory: some 12 MB for each 65,536, four times."`
	BlockDelay      time.Duration `key:"block_delay" default:"1s" rule:"min=10ms max=1m" doc:"The longest that an event waits for its block to fill. A shorter time shows events sooner and costs ClickHouse more work for each."`
	Writers         int           `key:"writers" default:"2" rule:"min=1 max=64" doc:"Blocks written at the same time."`
	DedupeMemory    Size          `key:"dedupe_memory" default:"0" rule:"max=1TiB" doc:"Memory for telling new events from known ones without asking ClickHouse: 3 to 6 bytes for each event of the days that are being written to. Late events of days beyond it are looked up, which makes writing slower. 0: a 64th of the machine's memory, at least 64MiB."`
	RetentionMonths int           `key:"retention_months" default:"0" rule:"min=0 max=600" doc:"Events older than this many months are deleted, whole calendar months at a time, so some stay up to a month longer. 0 keeps them for ever."`
}

// Spool is the section [spool].
type Spool struct {
	MaxBytes    Size `key:"max_bytes" default:"8GiB" rule:"min=64MiB max=16TiB" doc:"Disk that events not yet in ClickHouse may take. When it is full, new events are refused with 503 and nothing is dropped."`
	SegmentSize Size `key:"segment_size" default:"64MiB" rule:"min=1MiB max=1GiB" doc:"Size of one file of the queue."`
}

// Session is the section [session].
type Session struct {
	IdleTimeout     time.Duration `key:"idle_timeout" env:"PERMANENT_SESSION_LIFETIME" default:"30m" rule:"min=1m max=90d" doc:"Somebody who does nothing for this long is signed out."`
	AbsoluteTimeout time.Duration `key:"absolute_timeout" default:"12h" rule:"min=1m max=90d" doc:"After this long everybody has to sign in again."`
	CookieName      string        `key:"cookie_name" default:"gatehouse_session" rule:"cookie" doc:"Name of the cookie."`
	CookieSecure    string        `key:"cookie_secure" env:"SESSION_COOKIE_SECURE" default:"auto" rule:"oneof=auto|true,yes,on,1|false,no,off,0" doc:"Whether the cookie is sent over HTTPS alone. auto: yes wherever the person came by HTTPS."`
	CookieSameSite  string        `key:"cookie_samesite" env:"SESSION_COOKIE_SAMESITE" default:"lax" rule:"oneof=lax|strict|none" doc:"Which other sites' requests carry the cookie. none needs HTTPS. The cookie is never readable by scripts."`
	Store           string        `key:"store" default:"database" rule:"oneof=database|redis" doc:"Where sessions are kept. redis needs [cache] redis_url."`
}

// Secure tells whether the cookie must be marked to go over HTTPS alone, for a person who came by HTTPS or did not.
func (s Session) Secure(https bool) bool {
	return s.CookieSecure == "true" || s.CookieSecure == "auto" && https
}

// Security is the section [security].
type Security struct {
	SecretKey      Secret        `key:"secret_key" env:"SECRET_KEY" rule:"secret maxlen=1024" doc:"The secret from which the keys for cookies, tokens and stored MFA secrets are made. Several servers on one database must have the same. Make one with: openssl rand -hex 32. To exchange it, put the new one before the old one with a comma between, until nothing is left that the old one protects. Empty: one is made at the first start and kept."`
	BcryptCost     int           `key:"bcrypt_cost" default:"12" rule:"min=10 max=16" doc:"Work for one check of a password; one more doubles it. Passwords are rehashed at the next sign-in after a change."`
	AllowedHosts   []string      `key:"allowed_hosts" rule:"hostname" doc:"Names by which Gatehouse may be called, such as logons.example.org or *.example.org, without port. Requests for others are refused. Empty: any. localhost, loopback addresses, and /healthz and /readyz by any name, are always allowed."`
	HSTS           bool          `key:"hsts" default:"true" doc:"Tell browsers to use HTTPS alone from now on (Strict-Transport-Security). Never sent with a self-signed certificate, as nobody could get past a browser's warning then."`
	HSTSMaxAge     time.Duration `key:"hsts_max_age" default:"365d" rule:"min=0s max=3650d" doc:"For how long browsers remember that. 0s makes them forget."`
	HSTSSubdomains bool          `key:"hsts_subdomains" default:"false" doc:"Say the same for all names below this one."`
}

// OIDC is the section [oidc].
type OIDC struct {
	Issuer       string    `key:"issuer" rule:"issuer" doc:"Address of the identity provider, as its discovery document names it. Empty: people sign in with passwords alone."`
	ClientID     string    `key:"client_id" doc:"How the provider knows Gatehouse."`
	ClientSecret Secret    `key:"client_secret" doc:"The secret that goes with client_id. Empty for a public client, which PKCE protects."`
	RedirectURL  string    `key:"redirect_url" rule:"url" doc:"Address to which the provider sends people back, as registered there. Empty: made from the name in the request."`
	Scopes       []string  `key:"scopes" default:"openid, profile, email" doc:"What the provider is asked for. openid must be among them."`
	RoleClaim    string    `key:"role_claim" default:"groups" doc:"The claim whose values mappings turns into roles."`
	CompanyClaim string    `key:"company_claim" doc:"The claim that names the company of mappings without one. Empty: only mappings with a company give a role in a company."`
	Mappings     []Mapping `key:"mappings" doc:"Which value of role_claim gives which role, in which company: VALUE=Role or VALUE=Role@Company, separated by semicolons. Without a match, a person who is not known gets no account."`
	AllowSignUp  bool      `key:"allow_sign_up" default:"false" doc:"Make an account at the first sign-in of a person whom mappings gives a role."`
	SecondFactor string    `key:"second_factor" default:"ask" rule:"oneof=ask|amr|trust" doc:"Who asks for the second factor of people who have one here or must have one. ask: Gatehouse does. amr: Gatehouse does, unless the provider says in amr or acr that it has (second_factor_values). trust: it is the provider's business, whatever it says."`
	FactorValues []string  `key:"second_factor_values" default:"mfa" doc:"With second_factor = amr: the values of amr or acr by which the provider tells of more than one factor."`
}

// RateLimiting is the section [rate_limiting].
type RateLimiting struct {
	Enabled       bool `key:"enabled" default:"true" doc:"Limit at all. Off turns off all limits below."`
	LoginLimit    Rate `key:"login_limit" default:"10/1m" doc:"Sign-in attempts of one address, and for one account."`
	RegisterLimit Rate `key:"register_limit" default:"5/5m" doc:"Registrations of one address."`
	TokenLimit    Rate `key:"token_limit" default:"10/1m" doc:"Requests of one address for API tokens."`
	APILimit      Rate `key:"api_limit" default:"0" doc:"Requests of one API key or one person to the API: reports, data and administration together. Sending events and signing in are not counted."`
}

// Cache is the section [cache].
type Cache struct {
	RedisURL    Secret `key:"redis_url" env:"REDIS_URL" rule:"redis" doc:"redis://user:password@host:6379/0 or rediss://… (TLS), for limits and sessions that several servers share. Empty: each server counts for itself."`
	Compression bool   `key:"compression" default:"true" doc:"Compress reports and static files for clients that ask for it. Pages and whatever holds secrets never are."`
}

// Proxy is the section [proxy].
type Proxy struct {
	Trusted   []netip.Prefix `key:"trusted" rule:"networks" doc:"Addresses and networks of the proxies, such as 172.18.0.0/16, 10.0.0.7. Only they are believed who the client is. Empty: nobody."`
	Hops      int            `key:"hops" default:"1" rule:"min=0 max=16" doc:"How many proxies stand between the client and Gatehouse at most. 0: none, nobody is believed."`
	For       bool           `key:"x_forwarded_for" default:"true" doc:"Take the client's address from X-Forwarded-For."`
	Proto     bool           `key:"x_forwarded_proto" default:"true" doc:"Take from X-Forwarded-Proto whether the client came by HTTPS."`
	PlainHTTP bool           `key:"plain_http" default:"false" doc:"Serve requests of which a trusted proxy says (X-Forwarded-Proto) that they came by plain HTTP: passwords, keys and cookies can then be read on the way. Off: browsers are sent to HTTPS, and programs refused."`
	Host      bool           `key:"x_forwarded_host" default:"true" doc:"Take the name that the client asked for from X-Forwarded-Host."`
	Port      bool           `key:"x_forwarded_port" default:"true" doc:"And the port from X-Forwarded-Port."`
	Prefix    bool           `key:"x_forwarded_prefix" default:"false" doc:"Take the path below which the proxy shows Gatehouse from X-Forwarded-Prefix."`
}

// Logging is the section [logging].
type Logging struct {
	Level  string `key:"level" default:"info" rule:"oneof=debug,notset|info|warn,warning|error,critical,fatal" doc:"The least important messages to log."`
	Format string `key:"format" default:"text" rule:"oneof=text|json" doc:"How messages are written."`
}

// App is the section [app].
type App struct {
	Timezone      string        `key:"timezone" env:"TIMEZONE" default:"UTC" rule:"zone" doc:"Time zone of new companies."`
	MaxSession    time.Duration `key:"max_session" default:"24h" rule:"min=1m max=744h" doc:"In new companies, a session without an end counts as ended after this time."`
	AdminPassword Secret        `key:"admin_password" env:"GATEHOUSE_ADMIN_PASSWORD" doc:"Password of the first administrator, used at the first start only. It must be good enough for any person, and need not be changed. Empty: the documented one, which must be changed at the first sign-in before anything else."`
}

// Notices are what was accepted but should be looked at: settings of the application that Gatehouse replaces which have no
// meaning any more, and unknown ones among them. They never hold a secret.
func (c *Config) Notices() []string { return c.notices }

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
