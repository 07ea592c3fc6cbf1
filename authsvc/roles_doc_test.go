package authsvc

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updateDocs = flag.Bool("update", false, "write the documents that are rendered from code")

const (
	rolesBegin = "<!-- The table is rendered from authsvc/permission.go: go test ./authsvc -run TestRolesDoc -update -->\n"
	rolesEnd   = "<!-- end of the table -->\n"
)

// TestRolesDoc holds docs/roles.md to the permission table.
func TestRolesDoc(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "docs", "roles.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), rolesBegin)
	_, tail, ended := strings.Cut(rest, rolesEnd)
	if !found || !ended {
		t.Fatalf("%s lacks the marks of the table", path)
	}
	want := head + rolesBegin + rolesTable() + rolesEnd + tail
	if want == string(text) {
		return
	}
	if !*updateDocs {
		t.Fatalf("%s is not what the permission table says: run go test ./authsvc -run TestRolesDoc -update", path)
	}
	if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rolesTable() string {
	var b strings.Builder
	b.WriteString("| permission | allows to | token scope | GlobalAdmin | Admin | CompanyAdmin | User |\n|---|---|---|---|---|---|---|\n")
	for i := range permissionTable {
		row := &permissionTable[i]
		cells := []string{"`" + string(row.Permission) + "`", row.Allows, row.Scope.String()}
		for _, role := range roles {
			cells = append(cells, row.reach(role).String())
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	return b.String()
}

// TestPermissionTable: the table is whole and goes upward: no role may do what one above it may not, but for what belongs to
// each person themselves.
func TestPermissionTable(t *testing.T) {
	t.Parallel()
	seen := map[Permission]bool{}
	for i := range permissionTable {
		row := &permissionTable[i]
		if seen[row.Permission] || row.Allows == "" || row.Scope == 0 {
			t.Errorf("%s: twice, or without words or scope", row.Permission)
		}
		seen[row.Permission] = true
		for n, role := range roles[1:] {
			if row.reach(role) > row.reach(roles[n]) {
				t.Errorf("%s: %s may more than %s", row.Permission, role, roles[n])
			}
			if row.reach(role) == Everywhere && row.Permission != PermOwnAccount {
				t.Errorf("%s: %s has it in companies that they do not belong to", row.Permission, role)
			}
		}
		if row.reach(RoleGlobalAdmin) != Everywhere {
			t.Errorf("%s: not even a GlobalAdmin has it everywhere", row.Permission)
		}
		if row.reach("") != Never || row.reach("root") != Never {
			t.Errorf("%s: an unknown role has it", row.Permission)
		}
	}
}
