package authsvc

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"gatehouse/event"
)

const (
	// maxName is the longest name of a company, site or user in characters; the columns hold no more.
	maxName = 200
	// maxNameKey is the column of the folded name. Folding can make a name longer (one Arabic ligature becomes 18
	// letters), so it has its own limit.
	maxNameKey = 400
)

// nameKey is the form in which names are compared and kept unique: without case, without the difference between
// composed and decomposed or full-width letters, with single spaces. It is computed here because each database
// would fold differently.
func nameKey(name string) string {
	folded := cases.Fold().String(norm.NFKC.String(name))
	return norm.NFKC.String(strings.Join(strings.Fields(folded), " "))
}

// idOf reads a name of a person or company in its folded form that is digits alone. Such a one is always an id, so that nobody can be named
// like somebody else's: ok is true for all of them, and id 0, which nothing has, where it is larger than any.
func idOf(key string) (id uint32, ok bool) {
	if key == "" || strings.Trim(key, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(key, 10, 31)
	if err != nil {
		return 0, true
	}
	return uint32(n), true
}

// notAnID checks the folded form of a name that a person or company is to have.
func notAnID(field, key string) error {
	if _, ok := idOf(key); ok {
		return event.FieldError(field, "must not be digits alone, which are always an id: add a letter")
	}
	return nil
}

// cleanName checks a name for display and returns it with single spaces, together with its key.
func cleanName(field, name string) (clean, key string, err error) {
	if !utf8.ValidString(name) {
		return "", "", event.FieldError(field, "is not valid UTF-8")
	}
	clean = strings.Join(strings.Fields(name), " ")
	if clean == "" {
		return "", "", event.FieldError(field, "must not be empty")
	}
	for _, r := range clean {
		// Control and format characters hide or reverse text in lists and logs; unprintable ones cannot be typed again.
		if !unicode.IsPrint(r) {
			return "", "", event.FieldError(field, "contains the character %U, which cannot be shown", r)
		}
	}
	key = nameKey(clean)
	if utf8.RuneCountInString(clean) > maxName || utf8.RuneCountInString(key) > maxNameKey {
		return "", "", event.FieldError(field, "is longer than %d characters", maxName)
	}
	return clean, key, nil
}
