package config

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestOldFileIsAccepted(t *testing.T) {
	t.Parallel()
	cfg, err := Load("testdata/old.ini", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Security.SecretKey, want.Logging.Level, want.App.Timezone = "6f1c0f9a2f5d4c1d9b7e8a30415f2c77", "debug", "Europe/London"
	want.Server.Host, want.Server.Port, want.Server.ShutdownTimeout = "0.0.0.0", 8443, 45*time.Second
	want.Database.URL = "postgresql+psycopg2://gate:p%40ss@db.example:5432/logons"
	want.Session.CookieSecure, want.Session.CookieSameSite = "true", "strict"
	want.Session.IdleTimeout, want.Session.AbsoluteTimeout = 24*time.Hour, 24*time.Hour
	want.Cache.Compression, want.Cache.RedisURL = false, "redis://localhost:6379/0"
	want.Security.HSTSMaxAge = 24 * time.Hour
	want.RateLimiting.LoginLimit, want.RateLimiting.RegisterLimit, want.RateLimiting.APILimit = Rate{20, 2 * time.Minute}, Rate{3, 5 * time.Minute}, Rate{60, 30 * time.Second}
	want.Proxy.Trusted = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("10.0.0.7/32")}
	want.Proxy.Hops, want.Proxy.Host, want.Proxy.Prefix = 2, false, true
	notices := strings.Join(cfg.Notices(), "\n")
	want.notices = cfg.notices
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	for _, told := range []string{
		"no longer used: [server] development_mode, [server] watch_files, [logging] filter_file_watcher_logs: there is nothing to reload",
		"[server] workers, [server] worker_lifetime", "graceful_shutdown", "sqlalchemy_track_modifications", "session_cookie_httponly",
		"remember_cookie_duration", "static_max_age", "compression_level", "content_security_policy", "enable_security_headers", "db_logging_filtered_loggers",
		"db_logging_dedupe_interval", `[logging] has no setting "something_nobody_knows", which is ignored`, "ssl_certfile and ssl_keyfile are not there",
		"somebody on the way to db.example can read",
	} {
		if !strings.Contains(notices, told) {
			t.Errorf("not told: %q", told)
		}
	}
	if n := len(cfg.Notices()); n != 13 {
		t.Errorf("%d notices:\n%s", n, notices)
	}
	if strings.Contains(notices, "6f1c") || strings.Contains(notices, "gate:") {
		t.Errorf("a notice shows a secret: %s", notices)
	}
}

func TestOldDefaultFile(t *testing.T) {
	t.Parallel()
	cfg, err := Load("testdata/old-default.ini", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.App.Timezone, want.Server.Host, want.Session.IdleTimeout = "Europe/London", "0.0.0.0", 2*time.Hour
	want.notices = cfg.notices
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	notices := strings.Join(cfg.Notices(), "\n")
	for _, told := range []string{"[app] secret_key is too short or the documentation's example", "names the former application's own file", "believes nobody's", "self-signed"} {
		if !strings.Contains(notices, told) {
			t.Errorf("not told: %q in\n%s", told, notices)
		}
	}
	if strings.Contains(notices, "change_this") {
		t.Errorf("a notice shows a secret: %s", notices)
	}
}

// TestOldCertificate: where the former application's certificate is there, it is used.
func TestOldCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/old-default.ini")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.ini")
	cert := filepath.Join(dir, oldCertFile)
	if err := os.MkdirAll(filepath.Dir(cert), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{file: text, cert: nil} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Load(file, nil)
	if err != nil || cfg.Server.CertFile != cert || cfg.Server.KeyFile != filepath.Join(dir, oldKeyFile) {
		t.Errorf("%+v, %v", cfg.Server, err)
	}
}

func TestOldAndOwn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ini, env, notice string
		test             func(*Config) bool
	}{
		"own name before old":     {"[app]\nAPP_DEBUG = true\n[logging]\nlevel = error", "", "[app] app_debug is ignored, since [logging] level is set by level", func(c *Config) bool { return c.Logging.Level == "error" }},
		"environment before both": {"[app]\nAPP_DEBUG = true\n[logging]\nlevel = error", "GATEHOUSE_LOGGING_LEVEL=warn", "", func(c *Config) bool { return c.Logging.Level == "warn" }},
		"span in the limit":       {"[rate_limiting]\nlogin_limit = 7/30s\nlogin_period = 60", "", "", func(c *Config) bool { return c.RateLimiting.LoginLimit == Rate{7, 30 * time.Second} }},
		"window":                  {"[rate_limiting]\nLOGIN_LIMIT = 7\nLOGIN_WINDOW = 30", "", "", func(c *Config) bool { return c.RateLimiting.LoginLimit == Rate{7, 30 * time.Second} }},
		"period alone":            {"[rate_limiting]\nregister_period = 600", "", "", func(c *Config) bool { return c.RateLimiting.RegisterLimit == Rate{5, 10 * time.Minute} }},
		"no limit with a period":  {"[rate_limiting]\nAPI_LIMIT = 0\nAPI_PERIOD = 60", "", "", func(c *Config) bool { return c.RateLimiting.APILimit == Rate{} }},
		"limit of events":         {"[rate_limiting]\ningest_limit = 600 per minute", "", "", func(c *Config) bool { return c.Ingest.RateLimit == 10 }},
		"counts of headers":       {"[proxy]\nx_for = 3\nx_proto = 1\nx_host = 0", "", "", func(c *Config) bool { return c.Proxy.Hops == 3 && c.Proxy.For && c.Proxy.Proto && !c.Proxy.Host }},
		"no proxies":              {"[proxy]\nPROXY_COUNT = 0\nTRUSTED_PROXIES = 10.0.0.1", "", "", func(c *Config) bool { return c.Proxy.Hops == 0 && len(c.Proxy.Trusted) == 1 }},
		"indented setting":        {"[app]\n  timezone = Asia/Tokyo\n\tmax_session: 2h", "", "", func(c *Config) bool { return c.App.Timezone == "Asia/Tokyo" && c.App.MaxSession == 2*time.Hour }},
		"value over lines":        {"[proxy]\ntrusted =\n\t10.0.0.1,\n\tfd00::/8,\r\n\t10.0.0.2\nhops = 2", "", "", func(c *Config) bool { return len(c.Proxy.Trusted) == 3 && c.Proxy.Hops == 2 }},
		"sqlite":                  {"[database]\nSQLALCHEMY_DATABASE_URI = sqlite:////srv/old/database.db", "", "the former application's own file", func(c *Config) bool { return c.Database.URL == "" }},
		"memory":                  {"[rate_limiting]\nRATELIMIT_STORAGE_URI = memory://", "", "", func(c *Config) bool { return c.Cache.RedisURL == "" }},
		"None":                    {"[session]\nSESSION_COOKIE_SAMESITE = None", "", "", func(c *Config) bool { return c.Session.CookieSameSite == "lax" }},
		"listen, then PORT":       {"[server]\nlisten = 0.0.0.0:1", "PORT=2", "", func(c *Config) bool { return c.Server.Address() == "0.0.0.0:2" }},
		"listen twice":            {"[server]\nlisten = 0.0.0.0:1", "GATEHOUSE_SERVER_LISTEN=[::]:3", "", func(c *Config) bool { return c.Server.Address() == "[::]:3" }},
		"cookie's name":           {"[session]\nSESSION_COOKIE_NAME = monitor-session", "", "", func(c *Config) bool { return c.Session.CookieName == "monitor-session" }},
		"cookie's name, odd":      {"[session]\nSESSION_COOKIE_NAME = my session", "", "session_cookie_name: \"my session\" must be at most", func(c *Config) bool { return c.Session.CookieName == "gatehouse_session" }},
		"weak hashes":             {"[security]\nBCRYPT_LOG_ROUNDS = 8", "", "it is ignored, and [security] bcrypt_cost stays 12", func(c *Config) bool { return c.Security.BcryptCost == 12 }},
		"strong hashes":           {"[security]\nBCRYPT_LOG_ROUNDS = 13", "", "", func(c *Config) bool { return c.Security.BcryptCost == 13 }},
		"everybody is a proxy":    {"[proxy]\nTRUSTED_PROXIES = 0.0.0.0/0", "", "0.0.0.0/0 is everybody", func(c *Config) bool { return c.Proxy.Trusted == nil }},
		"proxies of all kinds":    {"[proxy]\nTRUSTED_PROXIES = 10.0.0.1, 172.18.0.5/16, traefik, fd00::/8", "", "\"traefik\" is neither an address", func(c *Config) bool { return len(c.Proxy.Trusted) == 2 && c.Proxy.Trusted[1].String() == "fd00::/8" }},
		"many proxies":            {"[proxy]\nPROXY_COUNT = 99", "", "it is ignored, and [proxy] hops stays 1", func(c *Config) bool { return c.Proxy.Hops == 1 }},
		"endless sessions":        {"[session]\nPERMANENT_SESSION_LIFETIME = 999999999", "", "[session] idle_timeout stays 30m", func(c *Config) bool { return c.Session.IdleTimeout == 30*time.Minute }},
		"unknown, near":           {"[security]\nallowed_host = a.example", "", `[security] has no setting "allowed_host", which is ignored; did you mean allowed_hosts?`, func(c *Config) bool { return c.Security.AllowedHosts == nil }},
	} {
		file := filepath.Join(t.TempDir(), "c.ini")
		if err := os.WriteFile(file, []byte(c.ini+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(file, []string{c.env})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		notices := strings.Join(cfg.Notices(), "\n")
		if !c.test(cfg) || !strings.Contains(notices, c.notice) {
			t.Errorf("%s: %+v\nnotices: %s", name, cfg, notices)
		}
	}
}

// TestOldKeys: the table fits the settings, and every key of it is accepted.
func TestOldKeys(t *testing.T) {
	t.Parallel()
	for _, o := range oldKeys {
		if (o.to == "") == (o.gone == "") || o.key != strings.ToLower(o.key) {
			t.Errorf("[%s] %s: is now %q, is gone for %q", o.section, o.key, o.to, o.gone)
		}
		if sec := findSection(o.section); sec == nil || !sec.old() || sec.find(o.key) != nil {
			t.Errorf("[%s] %s: not a section of the former application, or a setting's own name", o.section, o.key)
		}
		if o.to != "" {
			findSetting(o.to) // panics when there is none
		}
	}
}

func TestCookieSecure(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][2]bool{"auto": {false, true}, "True": {true, true}, "0": {false, false}} {
		cfg, err := Load("", []string{"SESSION_COOKIE_SECURE=" + value})
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{cfg.Session.Secure(false), cfg.Session.Secure(true)}; got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{
		"10/1m": {10, time.Minute}, "10/60": {10, time.Minute}, "60/minute": {60, time.Minute}, "60 per minute": {60, time.Minute}, "5 per 300 second": {5, 5 * time.Minute},
		"5/300s": {5, 5 * time.Minute}, "2 / 3 hours": {2, 3 * time.Hour}, "100 per day": {100, day}, "0": {}, "none": {}, "Off": {}, "0/60": {}, "7": {7, 0}, " 9 PER HOUR ": {9, time.Hour},
	} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1/", "/1m", "1/0", "1/-1m", "1/500ms", "1/32d", "1 per 2 3", "1.5/1m", "9999999999/1m", "1/1m/1m", "5 per 99999999999 second"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzRate(f *testing.F) {
	for _, s := range []string{"10/1m", "60 per minute", "5 per 300 second", "0", "7/31d", "1/1h1m1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseRate(s)
		if err != nil || got.Per == 0 {
			return
		}
		if got.Count <= 0 || got.Per < time.Second || got.Per > maxRatePer {
			t.Errorf("%q: %+v", s, got)
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%q: %+v became %+v, %v", s, got, again, err)
		}
	})
}

var update = flag.Bool("update", false, "write docs/configuration.md anew")

// TestDocs: the page of settings is what the program would write.
func TestDocs(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join("..", "docs", "configuration.md")
	if *update {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("docs/configuration.md is not current (%v): go test ./config -run TestDocs -update", err)
	}
}
