package config

import "slices"

// The application that Gatehouse replaces had a config.ini too, whose sections are ours. It is accepted as it is: what has a
// meaning here is taken over, what has none is told once, with the reason.

// oldKey is a key of that application, or of the libraries that its operators may have set up by it.
type oldKey struct {
	section, key string
	to           string // the setting that it is now, as "section.key"; "" for those that are gone
	// read turns the old value into ours; "" leaves the setting as it is, for the reason that why gives. nil takes it as it is.
	read   func(text string) (value, why string, err error)
	gone   string // why it is gone
	beside string // the key that is read together with this one and then has taken it over
	// looser: the former application took values that are refused here. Such a one is told, and the default kept, which is the safe one.
	looser bool
}

const (
	goneWorkers  = "one process serves all and uses all CPUs"
	goneReload   = "there is nothing to reload: it is one compiled program"
	goneOrderly  = "every stop is an orderly one"
	goneORM      = "it was a setting of a library that is gone"
	goneHTTPOnly = "the session's cookie is never readable by scripts"
	goneRemember = "there is no second cookie; see [session] absolute_timeout"
	goneStatic   = "static files carry their version in their names or are asked for again when they change"
	goneLevel    = "the level and the least size are fixed"
	gonePolicy   = "the headers are part of the program, stricter than that, and always sent"
	goneErrorLog = "administrators set what is kept while the server runs, see gatehouse settings, error_log_level and error_log_filters; repeated messages are counted as one"
	goneLogFile  = "the log goes to standard error, for systemd or a container engine to keep"
	goneCacheOld = "answers are not cached"
	goneCSRF     = "the protection is always on"
	goneLimiter  = "limits have settings of their own in [rate_limiting]"
)

var oldKeys = []oldKey{
	{section: "app", key: "secret_key", to: "security.secret_key", read: oldSecret},
	{section: "app", key: "app_debug", to: "logging.level", read: oldDebug},
	{section: "app", key: "debug", to: "logging.level", read: oldDebug},
	{section: "app", key: "host", to: "server.host"},
	{section: "app", key: "port", to: "server.port"},
	{section: "app", key: "testing", gone: goneORM},
	{section: "app", key: "flask_env", gone: goneORM},
	{section: "app", key: "preferred_url_scheme", gone: "it is known from [server] tls and from the proxy"},
	{section: "app", key: "max_content_length", gone: "see [ingest] max_bytes"},

	{section: "server", key: "certfile", to: "server.ssl_certfile"},
	{section: "server", key: "keyfile", to: "server.ssl_keyfile"},
	{section: "server", key: "development_mode", gone: goneReload},
	{section: "server", key: "watch_files", gone: goneReload},
	{section: "server", key: "reload", gone: goneReload},
	{section: "server", key: "workers", gone: goneWorkers},
	{section: "server", key: "threads", gone: goneWorkers},
	{section: "server", key: "uvicorn_workers", gone: goneWorkers},
	{section: "server", key: "async_mode", gone: goneWorkers},
	{section: "server", key: "worker_lifetime", gone: goneWorkers},
	{section: "server", key: "worker_class", gone: goneWorkers},
	{section: "server", key: "graceful_shutdown", gone: goneOrderly},

	{section: "database", key: "sqlalchemy_database_uri", to: "database.url", read: oldDatabase},
	{section: "database", key: "database_url", to: "database.url", read: oldDatabase},
	{section: "database", key: "database_uri", to: "database.url", read: oldDatabase},
	{section: "database", key: "uri", to: "database.url", read: oldDatabase},
	{section: "database", key: "sqlalchemy_track_modifications", gone: goneORM},
	{section: "database", key: "sqlalchemy_engine_options", gone: goneORM},
	{section: "database", key: "sqlalchemy_echo", gone: goneORM},

	{section: "session", key: "session_cookie_secure", to: "session.cookie_secure"},
	{section: "session", key: "session_cookie_samesite", to: "session.cookie_samesite", looser: true},
	{section: "session", key: "session_cookie_name", to: "session.cookie_name", looser: true},
	{section: "session", key: "session_cookie_httponly", gone: goneHTTPOnly},
	{section: "session", key: "permanent_session_lifetime", to: "session.idle_timeout", looser: true},
	{section: "session", key: "session_type", gone: "see [session] store"},
	{section: "session", key: "session_permanent", gone: goneORM},
	{section: "session", key: "remember_cookie_secure", gone: goneRemember},
	{section: "session", key: "remember_cookie_httponly", gone: goneRemember},
	{section: "session", key: "remember_cookie_duration", gone: goneRemember},
	{section: "session", key: "remember_cookie_samesite", gone: goneRemember},

	{section: "security", key: "enable_hsts", to: "security.hsts"},
	{section: "security", key: "content_security_policy", gone: gonePolicy},
	{section: "security", key: "enable_security_headers", gone: gonePolicy},
	{section: "security", key: "feature_policy", gone: gonePolicy},
	{section: "security", key: "permissions_policy", gone: gonePolicy},
	{section: "security", key: "bcrypt_log_rounds", to: "security.bcrypt_cost", looser: true},
	{section: "security", key: "wtf_csrf_enabled", gone: goneCSRF},
	{section: "security", key: "wtf_csrf_time_limit", gone: goneCSRF},

	{section: "cache", key: "cache_redis_url", to: "cache.redis_url"},
	{section: "cache", key: "enable_compression", to: "cache.compression"},
	{section: "cache", key: "compression_level", gone: goneLevel},
	{section: "cache", key: "compression_min_size", gone: goneLevel},
	{section: "cache", key: "static_max_age", gone: goneStatic},
	{section: "cache", key: "image_max_age", gone: goneStatic},
	{section: "cache", key: "js_css_max_age", gone: goneStatic},
	{section: "cache", key: "cache_type", gone: goneCacheOld},
	{section: "cache", key: "cache_default_timeout", gone: goneCacheOld},

	{section: "rate_limiting", key: "enable_rate_limiting", to: "rate_limiting.enabled"},
	{section: "rate_limiting", key: "ratelimit_enabled", to: "rate_limiting.enabled"},
	{section: "rate_limiting", key: "redis_url", to: "cache.redis_url"},
	{section: "rate_limiting", key: "ratelimit_storage_url", to: "cache.redis_url", read: oldStorage},
	{section: "rate_limiting", key: "ratelimit_storage_uri", to: "cache.redis_url", read: oldStorage},
	{section: "rate_limiting", key: "ratelimit_default", gone: goneLimiter},
	{section: "rate_limiting", key: "ratelimit_strategy", gone: goneLimiter},
	{section: "rate_limiting", key: "ratelimit_headers_enabled", gone: "the headers are always sent"},
	{section: "rate_limiting", key: "ingest_limit", to: "ingest.rate_limit", read: oldIngest},

	{section: "proxy", key: "trusted_proxies", to: "proxy.trusted", read: oldProxies},
	{section: "proxy", key: "proxy_count", to: "proxy.hops", looser: true},
	{section: "proxy", key: "trust_x_forwarded_for", to: "proxy.x_forwarded_for"},
	{section: "proxy", key: "trust_x_forwarded_proto", to: "proxy.x_forwarded_proto"},
	{section: "proxy", key: "trust_x_forwarded_host", to: "proxy.x_forwarded_host"},
	{section: "proxy", key: "trust_x_forwarded_port", to: "proxy.x_forwarded_port"},
	{section: "proxy", key: "trust_x_forwarded_prefix", to: "proxy.x_forwarded_prefix"},
	{section: "proxy", key: "x_for", to: "proxy.x_forwarded_for", read: oldCount},
	{section: "proxy", key: "x_for", to: "proxy.hops", read: oldHops},
	{section: "proxy", key: "x_proto", to: "proxy.x_forwarded_proto", read: oldCount},
	{section: "proxy", key: "x_host", to: "proxy.x_forwarded_host", read: oldCount},
	{section: "proxy", key: "x_port", to: "proxy.x_forwarded_port", read: oldCount},
	{section: "proxy", key: "x_prefix", to: "proxy.x_forwarded_prefix", read: oldCount},

	{section: "logging", key: "log_level", to: "logging.level"},
	{section: "logging", key: "log_file", gone: goneLogFile},
	{section: "logging", key: "db_logging_enabled", gone: goneErrorLog},
	{section: "logging", key: "db_logging_filtered_patterns", gone: goneErrorLog},
	{section: "logging", key: "db_logging_filtered_loggers", gone: goneErrorLog},
	{section: "logging", key: "filter_file_watcher_logs", gone: goneReload},
	{section: "logging", key: "db_logging_dedupe_interval", gone: goneErrorLog},
}

// oldSections are those that the former application had.
var oldSections = []string{"app", "database", "server", "session", "security", "cache", "proxy", "rate_limiting", "logging"}

func (s *section) old() bool { return slices.Contains(oldSections, s.name) }
