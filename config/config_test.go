package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGoodFile(t *testing.T) {
	t.Parallel()
	cfg, err := Load("testdata/good.ini", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Server.Host, want.Server.Port, want.Server.ShutdownTimeout = "::1", 9443, 45*time.Second
	want.Database.URL = "postgresql://gate:a%23b;c@db.example:5432/gatehouse?sslmode=verify-full"
	want.ClickHouse.URL, want.ClickHouse.Cluster = "https://u:p@ch.example:8443", "main"
	want.Ingest.MaxBytes, want.Ingest.BlockDelay = 3<<19, 250*time.Millisecond
	want.Server.CertFile, want.Server.KeyFile = "testdata/tls/cert.pem", "/etc/gatehouse/key.pem"
	want.Session.CookieSecure, want.Session.CookieSameSite, want.Session.Store = "false", "lax", "redis"
	want.Cache.RedisURL = "rediss://:pw@cache.example:6380/2"
	want.Security.SecretKey, want.Security.HSTSMaxAge = "0123456789abcdef0123456789abcdef", 720*time.Hour
	want.Security.AllowedHosts = []string{"logons.example.org", "*.example.net", "10.0.0.7"}
	want.RateLimiting.LoginLimit, want.RateLimiting.RegisterLimit, want.RateLimiting.APILimit = Rate{5, 5 * time.Minute}, Rate{60, time.Minute}, Rate{100, time.Minute}
	want.Proxy.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.168.1.1/32")}
	want.Proxy.Hops = 2
	want.OIDC.Issuer, want.OIDC.ClientID = "https://id.example.org/realms/main", "gatehouse"
	want.OIDC.Mappings = []Mapping{{"CN=Admins,OU=x", "GlobalAdmin", ""}, {"hr", "User", "A=B"}, {"staff", "User", ""}}
	want.Logging.Level = "warn"
	want.App.Timezone, want.App.MaxSession, want.App.AdminPassword = "Europe/London", 12*time.Hour, `%(port)s $HOME \n`
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %#v\nwant %#v", cfg, want)
	}
	if n := cfg.Notices(); len(n) > 0 {
		t.Errorf("notices %q", n)
	}
	if a := cfg.Server.Address(); a != "[::1]:9443" {
		t.Errorf("address %q", a)
	}
}

// TestBadFiles has one broken file for each rule; its first line tells what the error must say.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad.*.ini")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		want, ok := strings.CutPrefix(first, "# want: ")
		if !ok {
			t.Fatalf("%s: the first line does not tell what is wanted", file)
		}
		cfg, err := Load(file, nil)
		problems, ok := errors.AsType[Problems](err)
		if !ok || cfg != nil {
			t.Errorf("%s: %v, %v", file, cfg, err)
			continue
		}
		if len(problems) != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant one problem with %q", file, err, want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a password: %v", file, err)
		}
	}
}

// TestRulesHaveBadFiles: whoever adds a rule adds a file that breaks it.
func TestRulesHaveBadFiles(t *testing.T) {
	t.Parallel()
	broken := map[string]string{
		"min": "int-small", "max": "int-large", "maxlen": "secret-long", "oneof": "oneof", "hostport": "hostport",
		"secret": "placeholder", "hostname": "hostname", "networks": "networks", "redis": "redis", "issuer": "issuer", "url": "url",
		"database": "database", "httpurl": "clickhouse-native", "identifier": "identifier", "cookie": "cookie", "zone": "zone",
	}
	for _, sec := range sections {
		for _, s := range sec.settings {
			for _, r := range s.rules {
				if _, err := os.Stat("testdata/bad." + broken[r.name] + ".ini"); err != nil {
					t.Errorf("rule %q of %s: no file breaks it: %v", r.name, s.name(), err)
				}
			}
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "c.ini")
	if err := os.WriteFile(file, []byte("[server]\nport = x\n[spool]\nmax_byte = 1\n[logging]\nlevel = loud\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file, []string{"GATEHOUSE_SPOOL_MAX_BYTES=tiny", "DATABASE_URL=nonsense"})
	problems, _ := errors.AsType[Problems](err)
	if len(problems) != 5 {
		t.Fatalf("%d problems: %v", len(problems), err)
	}
	for _, want := range []string{"5 problems", "port", "did you mean max_bytes?", "level", "GATEHOUSE_SPOOL_MAX_BYTES", "DATABASE_URL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ini := write("c.ini", "[server]\nport = 1\nhost = file\n[database]\nurl = sqlite:///file.db\n")
	secret, empty := write("url", "postgresql://u:p@h/d\n"), write("empty", " \n")
	for name, c := range map[string]struct {
		env  []string
		want string // of the error, or "" for none
		test func(*Config) bool
	}{
		"goes before the file": {[]string{"GATEHOUSE_SERVER_PORT=2"}, "", func(c *Config) bool { return c.Server.Port == 2 && c.Server.Host == "file" }},
		"short name":           {[]string{"DATABASE_URL=sqlite:///env.db"}, "", func(c *Config) bool { return c.Database.URL == "sqlite:///env.db" }},
		"long name":            {[]string{"GATEHOUSE_DATABASE_URL=sqlite:///env.db"}, "", func(c *Config) bool { return c.Database.URL == "sqlite:///env.db" }},
		"empty is not set":     {[]string{"DATABASE_URL=", "GATEHOUSE_SERVER_PORT="}, "", func(c *Config) bool { return c.Server.Port == 1 && c.Database.URL == "sqlite:///file.db" }},
		"secret from a file":   {[]string{"DATABASE_URL_FILE=" + secret}, "", func(c *Config) bool { return c.Database.URL == "postgresql://u:p@h/d" }},
		"others are not ours":  {[]string{"GATEHOUSE_SERVICE_PORT=1", "broken", "GATEHOUSE_SERVER_PORT_FILE=/nonexistent"}, "", func(c *Config) bool { return c.Server.Port == 1 }},
		"of the former application": {[]string{"SECRET_KEY=" + strings.Repeat("k", 32), "SESSION_COOKIE_SECURE=True", "DATABASE_URL=postgresql://h/d", "APP_DEBUG=true", "TIMEZONE=Asia/Tokyo", "HOST=0.0.0.0", "PORT=3", "SSL_CERTFILE=c", "SSL_KEYFILE=k", "REDIS_URL=redis://h"}, "", func(c *Config) bool {
			return c.Security.SecretKey.Reveal() == strings.Repeat("k", 32) && c.Session.CookieSecure == "true" && c.Database.URL == "postgresql://h/d" && c.Logging.Level == "debug" &&
				c.App.Timezone == "Asia/Tokyo" && c.Server.Address() == "0.0.0.0:3" && c.Server.CertFile == "c" && c.Server.KeyFile == "k" && c.Cache.RedisURL == "redis://h"
		}},
		"own names before shared ones": {[]string{"HOST=0.0.0.0", "GATEHOUSE_SERVER_HOST=::1", "PORT=x", "GATEHOUSE_SERVER_PORT=7", "TIMEZONE=x", "GATEHOUSE_APP_TIMEZONE=Asia/Tokyo"}, "", func(c *Config) bool {
			return c.Server.Address() == "[::1]:7" && c.App.Timezone == "Asia/Tokyo"
		}},
		"HOST of a shell": {[]string{"HOST=x86_64-conda-linux-gnu"}, "", func(c *Config) bool {
			return c.Server.Host == "file" && strings.Contains(c.Notices()[0], "GATEHOUSE_SERVER_HOST")
		}},
		"debug and a level":     {[]string{"APP_DEBUG=1", "GATEHOUSE_LOGGING_LEVEL=error"}, "", func(c *Config) bool { return c.Logging.Level == "error" }},
		"no debug":              {[]string{"APP_DEBUG=false"}, "", func(c *Config) bool { return c.Logging.Level == "info" }},
		"debug that is neither": {[]string{"APP_DEBUG=perhaps"}, "APP_DEBUG: \"perhaps\" is neither", nil},
		"short secret":          {[]string{"SECRET_KEY=hunter2"}, "SECRET_KEY: [security] secret_key: is 7 characters long", nil},
		"secrets in exchange":   {[]string{"SECRET_KEY=" + strings.Repeat("n", 32) + "," + strings.Repeat("o", 32)}, "", func(c *Config) bool { return len(c.Security.SecretKey) == 65 }},
		"one of them short":     {[]string{"SECRET_KEY=" + strings.Repeat("n", 32) + ",hunter2"}, "is 7 characters long", nil},
		"example of a secret":   {[]string{"SECRET_KEY=your-secret-key-here-0123456789abcdef"}, "example from a documentation", nil},
		"long session":          {[]string{"PERMANENT_SESSION_LIFETIME=2678400"}, "", func(c *Config) bool { return c.Session.IdleTimeout == 31*day && c.Session.AbsoluteTimeout == 31*day }},
		"both names":            {[]string{"DATABASE_URL=sqlite:///a", "GATEHOUSE_DATABASE_URL=sqlite:///b"}, "GATEHOUSE_DATABASE_URL: [database] url: is set by DATABASE_URL too", nil},
		"value and file":        {[]string{"DATABASE_URL=sqlite:///a", "DATABASE_URL_FILE=" + secret}, "DATABASE_URL_FILE: [database] url: is set by DATABASE_URL too", nil},
		"file that is missing":  {[]string{"DATABASE_URL_FILE=" + secret + "x"}, "no such file", nil},
		"file that is empty":    {[]string{"DATABASE_URL_FILE=" + empty}, "is empty", nil},
		"Kubernetes' variables": {[]string{"GATEHOUSE_SERVER_PORT=tcp://10.0.0.1:8000"}, "enableServiceLinks: false", nil},
		"rule":                  {[]string{"GATEHOUSE_SERVER_PORT=70000"}, "GATEHOUSE_SERVER_PORT: [server] port: 70000 is too large", nil},
		"two lines":             {[]string{"GATEHOUSE_SERVER_HOST=a\nb"}, "must be one line", nil},
	} {
		cfg, err := Load(ini, c.env)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "" && !c.test(cfg):
			t.Errorf("%s: %#v", name, cfg)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Load(filepath.Join(dir, "missing.ini"), nil); err == nil || !strings.Contains(err.Error(), "cannot read") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(write("large.ini", strings.Repeat("#", maxFile+1)), nil); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("large file: %v", err)
	}
}

// TestWriteDefault: the generated file changes nothing as it is, and nothing when every # before a setting is taken away.
func TestWriteDefault(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := WriteDefault(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	settings := 0
	for i, line := range lines {
		if len(line) > writeWidth {
			t.Errorf("line of %d characters: %s", len(line), line)
		}
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
			lines[i] = line[1:]
			settings++
		}
	}
	count := 0
	for _, sec := range sections {
		count += len(sec.settings)
		for _, s := range sec.settings {
			if !slices.Contains(lines, strings.TrimRight(s.key+" = "+s.def, " ")) {
				t.Errorf("%s is not shown", s.name())
			}
		}
	}
	if settings != count {
		t.Errorf("%d settings are shown of %d", settings, count)
	}
	for name, text := range map[string]string{"as it is": b.String(), "all set": strings.Join(lines, "\n")} {
		file := filepath.Join(t.TempDir(), "c.ini")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(file, nil)
		if err != nil || !reflect.DeepEqual(cfg, Default()) {
			t.Errorf("%s: %#v, %v", name, cfg, err)
		}
	}
}

func TestWriteHidesSecrets(t *testing.T) {
	t.Parallel()
	cfg, err := Load("testdata/good.ini", []string{"GATEHOUSE_ADMIN_PASSWORD=hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := cfg.Write(&b); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for form, text := range map[string]string{"dump": b.String(), "%v": fmt.Sprintf("%v", cfg), "%+v": fmt.Sprintf("%+v", *cfg), "%#v": fmt.Sprintf("%#v", *cfg), "JSON": string(asJSON)} {
		for _, secret := range []string{"hunter2", "a%23b", "u:p@", ":pw@", "0123456789abcdef"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s: %s", form, secret, text)
			}
		}
		if !strings.Contains(text, "********") {
			t.Errorf("%s does not show that there is a secret: %s", form, text)
		}
	}
	for _, want := range []string{"[server]\nhost = ::1\nport = 9443\nlisten =\ntls = true\n", "max_session = 12h\n", "max_bytes = 1536KiB\n", "block_delay = 250ms\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("dump lacks %q:\n%s", want, b.String())
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Size{
		"0": 0, "1": 1, "1048576": 1 << 20, "64KiB": 64 << 10, " 64 kb ": 64 << 10, "1.5MiB": 3 << 19, "8G": 8 << 30, "16TiB": 16 << 40, "7b": 7, "8388607TiB": 8388607 << 40,
	} {
		got, err := ParseSize(in)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%q: %q does not read back: %v", in, got, err)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1e9", "inf", "NaN", "0x10", "1.2.3", "8388608TiB", "99999999999999999999", "1 2", "+-1", "."} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q: %d", in, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "32MiB", "1.5 G", "99999999999999999999T", "-0", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseSize(s)
		if err != nil {
			return
		}
		if got < 0 {
			t.Errorf("%q: %d", s, got)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%q: %d became %d, %v", s, got, again, err)
		}
	})
}

func FuzzFile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.ini")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLoader()
		if l.readFile("c.ini", text); len(l.problems) > 0 {
			return
		}
		l.settle()
		// What was accepted must be readable again from its own dump, secrets aside.
		secrets := *l.cfg
		secrets.Database.URL, secrets.ClickHouse.URL, secrets.App.AdminPassword = "", "", ""
		secrets.Security.SecretKey, secrets.OIDC.ClientSecret, secrets.Cache.RedisURL = "", "", ""
		var b bytes.Buffer
		if err := secrets.Write(&b); err != nil {
			t.Fatal(err)
		}
		again := newLoader()
		again.readFile("dump", b.Bytes())
		secrets.notices = nil
		if len(again.problems) > 0 || !reflect.DeepEqual(again.cfg, &secrets) {
			t.Errorf("%q: dump does not read back: %q\n%s", text, again.problems, b.String())
		}
	})
}

// TestOpenConnections: what goes to other machines in the clear, or to whoever answers there, is told, with what to do.
func TestOpenConnections(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{
		"DATABASE_URL=postgresql://u:hunter2@db/d":                     "[database] url: somebody on the way to db can read and change what is sent: add sslmode=verify-full",
		"DATABASE_URL=postgresql://u:hunter2@db/d?sslmode=verify-full": "",
		"DATABASE_URL=mysql://u:hunter2@127.0.0.1/d":                   "",
		"CLICKHOUSE_URL=http://u:hunter2@ch.example:8123":              "[clickhouse] url: somebody on the way to ch.example can read and change what is sent: use https",
		"CLICKHOUSE_URL=https://u:hunter2@ch.example:8443":             "",
		"CLICKHOUSE_URL=http://localhost:8123":                         "",
		"REDIS_URL=redis://:hunter2@cache.example:6379/0":              "[cache] redis_url: somebody on the way to cache.example can read and change what is sent: use rediss",
		"REDIS_URL=rediss://:hunter2@cache.example:6379/0":             "",
		"REDIS_URL=redis://[::1]:6379":                                 "",
	} {
		cfg, err := Load("", []string{env})
		if err != nil {
			t.Errorf("%s: %v", env, err)
			continue
		}
		if notices := strings.Join(cfg.Notices(), "\n"); !strings.HasPrefix(notices, want) || (want == "") != (notices == "") || strings.Contains(notices, "hunter2") {
			t.Errorf("%s: notices %q, want %q", env, notices, want)
		}
	}
}

// TestUnknownVariables: a variable that looks like a setting and is none is told, others are nobody's business.
func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	cfg, err := Load("", []string{
		"GATEHOUSE_SECURITY_BCRYPT_COTS=13", "GATEHOUSE_SERVER_QQQQQQQQQQQQQQQQQQQQQQQQ=1", "GATEHOUSE_KEY=gh_x", "GATEHOUSE_ENGINE_LIBRARY=/x.so", "GATEHOUSE_SERVER_SERVICE_HOST=10.0.0.1",
		"GATEHOUSE_SERVER_PORT_8000_TCP=tcp://10.0.0.1:8000", "GATEHOUSE_DATABASE_PORT=tcp://10.0.0.1:5432", "GATEHOUSE_CACHE_PORT_53_UDP_ADDR=10.0.0.1", "GATEHOUSE_CACHE_SERVICE_PORT_REDIS=6379",
		"GATEHOUSE_SERVER_PORT_FILE=/x", "GATEHOUSE_TESTDATA=/x", "SOMETHING=1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"GATEHOUSE_SECURITY_BCRYPT_COTS is no setting, and is ignored; did you mean GATEHOUSE_SECURITY_BCRYPT_COST?",
		"GATEHOUSE_SERVER_PORT_FILE is no setting, and is ignored; did you mean GATEHOUSE_SERVER_PORT?",
		"GATEHOUSE_SERVER_QQQQQQQQQQQQQQQQQQQQQQQQ is no setting, and is ignored",
	}
	if got := cfg.Notices(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
