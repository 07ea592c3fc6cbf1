package ingest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"gatehouse/event"
)

// docs/ingest.md lists every field with every name that it goes by, and no others.
func TestDocumentedFields(t *testing.T) {
	text, err := os.ReadFile("../docs/ingest.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| field | also called | is |")
	table, _, _ = strings.Cut(table, "\n\n")
	documented := map[string][]string{}
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) < 4 || strings.HasPrefix(cells[1], "--") {
			continue
		}
		var names []string
		for name := range strings.SplitSeq(cells[2], ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
		documented[strings.TrimSpace(cells[1])] = names
	}
	for id := range event.NumFields {
		names, ok := documented[id.String()]
		if !ok {
			t.Errorf("%v is not documented", id)
		}
		own := strings.ToLower(id.String())
		want := slices.DeleteFunc(event.FieldAliases(id), func(name string) bool { return name == own })
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("%v is documented as %v, and also called %v", id, names, want)
		}
		delete(documented, id.String())
	}
	for name := range documented {
		t.Errorf("%s is documented, and no field", name)
	}
}
