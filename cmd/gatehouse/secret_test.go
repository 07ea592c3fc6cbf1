package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/authsvc"
)

// TestSecretReseal: a secret key is exchanged by the documented steps, and the command says when the old one may go.
func TestSecretReseal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sh := console{t, []string{"--data", dir}, nil}
	sh.ok(nil, "company", "create", "Acme")
	sh.fails(exitFailed, []string{"there is no secret key", authsvc.SecretKeyFile}, "secret", "reseal")
	old, fresh := strings.Repeat("a", 32), strings.Repeat("b", 32)
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, authsvc.SecretKeyFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(old)
	var list []authsvc.Resealed
	sh.ok(&list, "secret", "reseal", "--json")
	if len(list) != 3 || list[0].Older+list[0].Unreadable != 0 {
		t.Errorf("%+v", list)
	}
	write(fresh + "," + old)
	if text := sh.ok(nil, "secret", "reseal"); !strings.Contains(text, "UNDER OLDER ONES") || !strings.Contains(text, "authenticator apps") {
		t.Errorf("%s", text)
	}
	write(fresh)
	sh.ok(nil, "secret", "reseal")
	write(old)
	sh.fails(exitFailed, []string{"another secret key"}, "secret", "reseal")
}

// TestJSONOfSmallCommands: what scripts read of commands that otherwise print a line for people.
func TestJSONOfSmallCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sh := console{t, []string{"--data", dir}, []string{"REDIS_URL=redis://:hunter2@127.0.0.1/0"}}
	var moved []migratedView
	sh.ok(&moved, "migrate", "up", "--only", "relational", "--json")
	if len(moved) != 1 || moved[0].Name != "relational" || moved[0].From != 0 || moved[0].To == 0 {
		t.Errorf("%+v", moved)
	}
	latest := moved[0].To
	sh.ok(&moved, "migrate", "down", "--only", "relational", "--json")
	if len(moved) != 1 || moved[0].From != latest || moved[0].To != latest-1 {
		t.Errorf("%+v", moved)
	}
	sh.ok(nil, "migrate", "up", "--only", "relational")
	sh.ok(nil, "settings", "domain", "add", "example.com")
	var removed struct{ Removed string }
	if sh.ok(&removed, "settings", "domain", "remove", "example.com", "--json"); removed.Removed != "example.com" {
		t.Errorf("%+v", removed)
	}
	var settings map[string]map[string]string
	if text := sh.ok(&settings, "config", "print", "--json"); settings["server"]["port"] == "" || strings.Contains(text, "hunter2") {
		t.Errorf("%s", text)
	}
	sh.fails(exitUsage, []string{"json"}, "config", "print", "--json", "--default")
	var found configView
	if sh.ok(&found, "config", "check", "--json"); !found.OK || found.Problems == nil || found.Notes == nil {
		t.Errorf("%+v", found)
	}
	bad := console{t, sh.args, []string{"PORT=many"}}
	status, out, errs := bad.run("config", "check", "--json")
	if status == 0 || !strings.Contains(out, `{"ok":false,"problems":["`) || !strings.Contains(errs, "configuration:") {
		t.Errorf("%d, %s, %s", status, out, errs)
	}
}
