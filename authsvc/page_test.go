package authsvc

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatehouse/event"
)

// TestCursors: a cursor reads back as what it was made of, and only by the list that made it.
func TestCursors(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.StringN(0, 200, 500).Filter(func(s string) bool { return !strings.ContainsRune(s, 0) }), 1, 3).Draw(t, "keys")
		c := cursorOf("keys", keys...)
		got, err := (Page{Cursor: c}).after("keys", len(keys))
		if err != nil || !slices.Equal(got, keys) {
			t.Fatalf("%q: %q, %v", keys, got, err)
		}
		for _, wrong := range []string{c + "A", c[1:], "!"} {
			if got, err := (Page{Cursor: wrong}).after("keys", len(keys)); err == nil && slices.Equal(got, keys) {
				t.Fatalf("%q is read as %q", wrong, got)
			}
		}
		if _, err := (Page{Cursor: c}).after("audit", len(keys)); event.ErrorCode(err) != event.CodeInvalid {
			t.Fatalf("another list's cursor: %v", err)
		}
		if _, err := (Page{Cursor: c}).after("keys", len(keys)+1); event.ErrorCode(err) != event.CodeInvalid {
			t.Fatalf("a cursor of another length: %v", err)
		}
	})
	for limit, want := range map[int]int{0: DefaultPage, 1: 1, MaxPage: MaxPage, MaxPage + 1: -1, -1: -1} {
		got, err := (Page{Limit: limit}).size()
		if want < 0 && event.ErrorCode(err) != event.CodeInvalid || want >= 0 && (got != want || err != nil) {
			t.Errorf("limit %d: %d, %v", limit, got, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add(cursorOf("keys", "7"))
	f.Add(cursorOf("keys", "2147483648"))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`["keys",""]`)))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`["keys","-9223372036854775808"]`)))
	f.Fuzz(func(t *testing.T, text string) {
		id, err := Page{Cursor: text}.afterID("keys", maxID)
		if err != nil && event.ErrorCode(err) != event.CodeInvalid || id < 0 || id > maxID || err == nil && text != "" && id == 0 {
			t.Errorf("%q: %d, %v", text, id, err)
		}
	})
}
