package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/query"
	"gatehouse/schema"
)

// console runs the command line as a shell would, with an environment of its own.
type console struct {
	t    *testing.T
	args []string
	env  []string
}

func (c console) run(args ...string) (status int, stdout, stderr string) {
	c.t.Helper()
	var out, errs bytes.Buffer
	status = run(append(append([]string{}, c.args...), args...), c.env, &out, &errs)
	return status, out.String(), errs.String()
}

// ok runs a command that must succeed, and reads its JSON into v unless that is nil.
func (c console) ok(v any, args ...string) string {
	c.t.Helper()
	status, out, errs := c.run(args...)
	if status != 0 || errs != "" {
		c.t.Fatalf("%q: status %d, %s", args, status, errs)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(out), v); err != nil {
			c.t.Fatalf("%q: %v in %s", args, err, out)
		}
	}
	return out
}

// fails runs a command that must fail with a status and all of the words.
func (c console) fails(want int, words []string, args ...string) {
	c.t.Helper()
	status, out, errs := c.run(args...)
	if status != want {
		c.t.Errorf("%q: status %d, want %d: %s%s", args, status, want, out, errs)
	}
	for _, w := range words {
		if !strings.Contains(errs, w) {
			c.t.Errorf("%q: %q lacks %q", args, errs, w)
		}
	}
	if strings.Count(errs, "gatehouse: ") != 1 || strings.Contains(errs, "Usage:") {
		c.t.Errorf("%q: the error is not told once: %q", args, errs)
	}
}

// TestCompaniesAndKeys walks through what scripts do, on each database, while a server (a resolver) uses the same one.
func TestCompaniesAndKeys(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		sh := console{t, []string{"--data", filepath.Join(t.TempDir(), "new")}, []string{"DATABASE_URL=" + databaseURL}}

		var company companyView
		sh.ok(&company, "company", "create", "Acme Ltd", "--timezone", "Europe/London", "--json")
		if company.ID != 1 || company.Name != "Acme Ltd" || company.Timezone != "Europe/London" || company.MaxSession != 86400 {
			t.Errorf("%+v", company)
		}
		sh.ok(nil, "company", "create", "Zenith", "--max-session", "8h")
		store := authsvc.New(reldbtest.Open(t, databaseURL))
		keys, err := store.NewResolver(ctx, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := keys.Close(); err != nil {
				t.Error(err)
			}
		}()

		var made struct {
			Key, Prefix, Company string
			ID                   uint32
			Scopes               []string
		}
		sh.ok(&made, "key", "create", "--company", "acme ltd", "--scopes", "ingest,read", "--json")
		if made.Company != "Acme Ltd" || strings.Join(made.Scopes, ",") != "ingest,read" || !strings.HasPrefix(made.Key, made.Prefix) {
			t.Errorf("%+v", made)
		}
		p, err := keys.Resolve(ctx, made.Key, netip.Addr{})
		if err != nil || p.CompanyID != company.ID || p.SiteID != made.ID {
			t.Errorf("the new key at the server: %+v, %v", p, err)
		}
		if text := sh.ok(nil, "key", "create", "--company", "2", "--scopes", "sql", "--site", "Main", "--expires", "90d"); !strings.HasPrefix(text, "gh_") || !strings.Contains(text, "never again") {
			t.Errorf("key as text: %s", text)
		}
		var list []keyView
		sh.ok(&list, "key", "list", "--json")
		if len(list) != 2 || list[0].Key != "" || list[1].Site != "Main" || list[1].Expires.Before(time.Now().AddDate(0, 0, 89)) {
			t.Errorf("%+v", list)
		}
		if text := sh.ok(nil, "key", "list"); strings.Contains(text, made.Key) {
			t.Error("the list shows a key")
		}
		sh.ok(&list, "key", "list", "--company", "zenith", "--json")
		if len(list) != 1 || list[0].Company != "Zenith" {
			t.Errorf("keys of one company: %+v", list)
		}

		stops := func(what string) {
			t.Helper()
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				if _, err := keys.Resolve(ctx, made.Key, netip.Addr{}); err != nil {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("after %s the key still works", what)
				}
			}
		}
		sh.ok(nil, "key", "disable", made.Prefix)
		stops("disable")
		sh.ok(nil, "key", "enable", made.Prefix)
		if _, err := keys.Resolve(ctx, made.Key, netip.Addr{}); err != nil {
			t.Errorf("after enable: %v", err)
		}
		sh.ok(nil, "company", "disable", "Acme Ltd")
		stops("company disable")
		sh.ok(nil, "company", "enable", "Acme Ltd")
		sh.ok(nil, "key", "revoke", made.Key)
		stops("revoke")
		sh.fails(1, []string{"is revoked"}, "key", "enable", made.Prefix)

		sh.ok(&company, "company", "update", "acme ltd", "--timezone", "Asia/Tokyo", "--name", "Acme", "--json")
		if company.Name != "Acme" || company.Timezone != "Asia/Tokyo" || company.MaxSession != 86400 {
			t.Errorf("updated: %+v", company)
		}
		var companies []companyView
		sh.ok(&companies, "company", "list", "--json")
		if len(companies) != 2 || companies[1].MaxSession != 8*3600 {
			t.Errorf("%+v", companies)
		}
		if text := sh.ok(nil, "company", "list"); !strings.Contains(text, "Zenith") {
			t.Errorf("%s", text)
		}

		sh.fails(1, []string{`there is no company "Zenit"`, `did you mean "Zenith"?`}, "key", "create", "--company", "Zenit", "--scopes", "read")
		sh.fails(1, []string{"exists already"}, "company", "create", "ZENITH")
		sh.fails(1, []string{"timezone", "Europe/Londn"}, "company", "create", "x", "--timezone", "Europe/Londn")
		sh.fails(1, []string{"there is no key"}, "key", "disable", "99")
		sh.fails(2, []string{"did you mean read?"}, "key", "create", "--company", "Zenith", "--scopes", "reed")
		sh.fails(2, []string{"expires"}, "key", "create", "--company", "Zenith", "--scopes", "read", "--expires", "soon")
		sh.fails(1, []string{"is in the past"}, "key", "create", "--company", "Zenith", "--scopes", "read", "--expires", "2001-01-01")
		sh.fails(2, []string{"a key cannot have the scope manage: use ingest, read, sql"}, "key", "create", "--company", "Zenith", "--scopes", "manage")
		sh.fails(2, []string{"nothing to change"}, "company", "update", "Zenith")
		sh.fails(2, []string{"--max-session must be between 1m0s and 744h0m0s"}, "company", "update", "Zenith", "--max-session", "0s")
		sh.fails(2, []string{"--timezone must not be empty"}, "company", "update", "Zenith", "--timezone", "", "--name", "Nadir")
		sh.fails(2, []string{"--name must not be empty"}, "company", "update", "Zenith", "--name", "")
		sh.fails(2, []string{"--max-session must be"}, "company", "create", "Nadir", "--max-session", "0")
		sh.fails(2, []string{`required flag(s) "company", "scopes" not set`}, "key", "create")
		sh.fails(2, []string{"want 1 arguments"}, "company", "create")
		sh.fails(2, []string{"unknown flag: --nam", "gatehouse company create --help"}, "company", "create", "--nam", "x")
		sh.fails(2, []string{`there is no command "gatehouse company craete"`, "did you mean create?"}, "company", "craete")
		sh.fails(2, []string{`there is no command "gatehouse bogus"`}, "bogus")
	})
}

// TestMigrateRelational: down, up and a database of a newer version, by the command line.
func TestMigrateRelational(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		sh := console{t, []string{"--data", t.TempDir()}, []string{"DATABASE_URL=" + databaseURL}}
		var states []migrateState
		sh.ok(&states, "migrate", "status", "--only", "relational", "--json")
		if len(states) != 1 || states[0].Version != 0 || len(states[0].Pending) == 0 {
			t.Fatalf("%+v", states)
		}
		latest := states[0].Latest
		sh.ok(nil, "migrate", "up", "--only", "relational")
		sh.ok(nil, "migrate", "up", "--only", "relational")
		sh.fails(2, []string{fmt.Sprintf("--steps %d: there are %d migrations", latest+1, latest)}, "migrate", "down", "--only", "relational", "--steps", fmt.Sprint(latest+1))
		sh.ok(nil, "migrate", "down", "--only", "relational", "--steps", "1")
		sh.fails(1, []string{"gatehouse migrate up"}, "company", "list")
		sh.ok(&states, "migrate", "status", "--only", "relational", "--json")
		if states[0].Version != latest-1 || len(states[0].Pending) != 1 {
			t.Errorf("after one step down: %+v", states)
		}
		sh.ok(nil, "migrate", "up", "--only", "relational")

		db := reldbtest.Open(t, databaseURL)
		if err := db.Update(t.Context(), func(tx *reldb.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO schema_migrations (seq, version, applied_at) VALUES (1000, 99, 0)`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		newer := []string{schema.ErrNewer.Error(), "version 99"}
		sh.fails(1, newer, "company", "list")
		sh.fails(1, newer, "migrate", "up", "--only", "relational")
		sh.fails(1, newer, "migrate", "down", "--only", "relational")
		sh.ok(&states, "migrate", "status", "--only", "relational", "--json")
		if !states[0].Newer {
			t.Errorf("%+v", states)
		}
		sh.fails(2, []string{"there are relational and events"}, "migrate", "up", "--only", "both")
		sh.fails(2, []string{"--steps"}, "migrate", "down", "--only", "relational", "--steps", "0")
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sh := console{t, []string{"--data", dir}, nil}
	text := sh.ok(nil, "config", "default")
	if err := os.WriteFile(filepath.Join(dir, "config.ini"), []byte(text+"\n[app]\ntimezone = Asia/Tokyo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sh.ok(nil, "config", "check")
	var company companyView
	sh.ok(&company, "company", "create", "x", "--json")
	if company.Timezone != "Asia/Tokyo" {
		t.Errorf("the default zone of the settings was not used: %+v", company)
	}
	secret := console{t, sh.args, []string{"GATEHOUSE_ADMIN_PASSWORD=hunter2"}}
	if text := secret.ok(nil, "config", "show"); strings.Contains(text, "hunter2") || !strings.Contains(text, "timezone = Asia/Tokyo") {
		t.Errorf("%s", text)
	}
	bad := filepath.Join(dir, "bad.ini")
	if err := os.WriteFile(bad, []byte("[spool]\nmax_byte = 1\n[loging]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sh.fails(1, []string{"2 problems", "did you mean max_bytes?", "did you mean logging?"}, "--config", bad, "config", "check")
	sh.fails(1, []string{"2 problems"}, "--config", bad, "company", "list")
	sh.fails(1, []string{"no such file"}, "--config", bad+"x", "config", "show")
	wrong := writeFile(t, "[database]\nurl = oracle://u:hunter2@h/d\n")
	sh.fails(1, []string{`unknown scheme "oracle"`, "postgresql"}, "--config", wrong, "company", "list")
	if _, _, errs := sh.run("--config", wrong, "company", "list"); strings.Contains(errs, "hunter2") {
		t.Errorf("a password is told: %s", errs)
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.ini")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestVersion(t *testing.T) {
	t.Parallel()
	sh := console{t, nil, nil}
	var v versionView
	sh.ok(&v, "version", "--json")
	if v.Version == "" || !strings.HasPrefix(v.Go, "go1.") || !strings.Contains(sh.ok(nil, "version"), v.Version) {
		t.Errorf("%+v", v)
	}
	for _, tc := range []struct {
		v    versionView
		want string
	}{
		{versionView{Version: "v1", Commit: "0123456789abcdef", Go: "go1", Platform: "p"}, "gatehouse v1 (commit 0123456789ab, go1, p)"},
		{versionView{Version: "v1", Modified: true, Commit: "01234567", Go: "go1", Platform: "p"}, "gatehouse v1 (commit 01234567 with changes, go1, p)"},
		{versionView{Version: "dev", Go: "go1", Platform: "p"}, "gatehouse dev (commit unknown, go1, p)"},
	} {
		if got := tc.v.String(); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

// TestHelp: every command says what it is for, and the ones that do something say how they are called.
func TestHelp(t *testing.T) {
	t.Parallel()
	sh := console{t, nil, nil}
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		if cmd.Short == "" {
			t.Errorf("%q has no short help", path)
		}
		for line := range strings.SplitSeq(cmd.Long, "\n") {
			if len(line) > 110 {
				t.Errorf("%q: a help line of %d characters: %s", path, len(line), line)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			// What the API calls its parameters is not what is typed here.
			for _, word := range strings.FieldsFunc(f.Usage, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) }) {
				if word == "next_cursor" || strings.Contains(word, "_") && query.ParameterHelp(word) != "" {
					t.Errorf("%q --%s: the help speaks of %q: %s", path, f.Name, word, f.Usage)
				}
			}
			if strings.Contains(f.Usage, "&") || strings.Contains(f.Usage, "of from") {
				t.Errorf("%q --%s: the help is that of the API: %s", path, f.Name, f.Usage)
			}
		})
		if text := sh.ok(nil, append(path, "--help")...); !strings.Contains(text, "Usage:") {
			t.Errorf("%q --help: %s", path, text)
		}
		for _, sub := range cmd.Commands() {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	root := newRootCommand(&cli{})
	walk(root, nil)
	for _, name := range []string{"serve", "engine", "migrate", "company", "key", "import", "simulate", "bench", "version"} {
		if _, _, err := root.Find([]string{name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseExpiry(t *testing.T) {
	t.Parallel()
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"":                     {},
		"90d":                  now.AddDate(0, 0, 90),
		"12h":                  now.Add(12 * time.Hour),
		"2027-01-31":           time.Date(2027, 1, 30, 15, 0, 0, 0, time.UTC),
		"2027-01-31T18:00:00Z": time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC),
	} {
		if got, err := parseExpiry(in, now, tokyo); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"0d", "-5d", "d", "-1h", "2027-02-30", "tomorrow", "99999d"} {
		if got, err := parseExpiry(in, now, tokyo); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}
