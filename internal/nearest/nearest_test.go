package nearest

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	t.Parallel()
	have := []string{"max_records", "max_bytes", "block_rows", "block_delay", "writers", "Acme Ltd", "Acme Inc", "Zenith"}
	for want, expected := range map[string][]string{
		"max_record":   {"max_records"},
		"MAX_BYTES":    {"max_bytes"},
		"blokc_rows":   {"block_rows"},
		"acme":         {"Acme Inc", "Acme Ltd"},
		"writer":       {"writers"},
		"Zenith Group": {"Zenith"},
		"quite else":   nil,
		"":             nil,
		"  ":           nil,
	} {
		if got := Names(want, have, 2); !slices.Equal(got, expected) {
			t.Errorf("%q: %q, want %q", want, got, expected)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.RuneFrom([]rune("abcé")), 0, 8, -1)
		a, b := []rune(word.Draw(t, "a")), []rune(word.Draw(t, "b"))
		d := distance(a, b)
		if d != distance(b, a) {
			t.Errorf("%q and %q: not symmetric", string(a), string(b))
		}
		if (d == 0) != slices.Equal(a, b) {
			t.Errorf("%q and %q: distance %d", string(a), string(b), d)
		}
		if d > max(len(a), len(b)) || d < max(len(a), len(b))-min(len(a), len(b)) {
			t.Errorf("%q and %q: distance %d is out of its bounds", string(a), string(b), d)
		}
		if len(a) >= 2 && a[0] != a[1] {
			swapped := append([]rune{a[1], a[0]}, a[2:]...)
			if distance(a, swapped) != 1 {
				t.Errorf("%q with two letters swapped: distance %d", string(a), distance(a, swapped))
			}
		}
	})
	if got := Names(strings.Repeat("x", 1<<20), []string{strings.Repeat("x", 1<<20)}, 1); len(got) != 1 {
		t.Error("long names are not found")
	}
}
