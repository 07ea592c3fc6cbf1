package authsvc

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"gatehouse/event"
	"gatehouse/internal/nearest"
)

// maxEmail is the longest address that mail can be sent to (RFC 5321), and the column of its folded form.
const maxEmail = 254

// isEmail tells what a person gave to name themselves: usernames cannot hold an @.
func isEmail(key string) bool { return strings.ContainsRune(key, '@') }

// cleanUsername is cleanName for what people sign in with. Without an @ it can never be taken for somebody's e-mail; the key is
// looked at too, as it turns letters that look like @ into one. Nor can it be taken for an id.
func cleanUsername(name string) (clean, key string, err error) {
	if clean, key, err = cleanName("username", name); err != nil {
		return "", "", err
	}
	if isEmail(clean) || isEmail(key) {
		return "", "", event.FieldError("username", "must not contain an @, which only e-mails have")
	}
	if err := notAnID("username", key); err != nil {
		return "", "", err
	}
	return clean, key, nil
}

// cleanEmail checks an e-mail and returns it with the key by which it is compared and kept unique. Only plain addresses are taken:
// quoted and commented forms would be the same mailbox under many keys.
func cleanEmail(email string) (clean, key string, err error) {
	bad := func(why string) (string, string, error) {
		return "", "", event.FieldError("email", "%s; write for instance ada@example.com", why)
	}
	clean = strings.TrimSpace(email)
	if !utf8.ValidString(clean) {
		return bad("is not valid UTF-8")
	}
	for _, r := range clean {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return bad("contains a space or a character that cannot be shown")
		}
	}
	address, err := mail.ParseAddress(clean)
	if err != nil || address.Name != "" || address.Address != clean || strings.ContainsAny(clean, `"()<>,;\`) {
		return bad("is not an e-mail address")
	}
	if _, err := cleanDomain(clean[strings.LastIndexByte(clean, '@')+1:]); err != nil {
		return bad("has a domain that cannot exist")
	}
	key = nameKey(clean)
	if utf8.RuneCountInString(clean) > maxEmail || utf8.RuneCountInString(key) > maxEmail {
		return "", "", event.FieldError("email", "is longer than %d characters", maxEmail)
	}
	if strings.Count(key, "@") != 1 {
		return bad("has more than one @")
	}
	return clean, key, nil
}

// cleanDomain is a domain in the form in which domains are compared: lower case, international names as xn--.
func cleanDomain(domain string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(strings.TrimSpace(domain))
	if err != nil || ascii == "" || len(ascii) > 253 || strings.HasPrefix(ascii, ".") || strings.HasSuffix(ascii, ".") || strings.Contains(ascii, "..") {
		return "", event.FieldError("domain", "%q is not a domain; write for instance example.com", clip(domain, maxEmail))
	}
	return ascii, nil
}

// joinNames writes a list of names for a person to choose from.
func joinNames(names []string) string { return strings.Join(names, ", ") }

// didYouMean is the end of an error about a name that is not one of a list, empty when none comes near.
func didYouMean(name string, names []string) string {
	if near := nearest.Names(name, names, 1); len(near) > 0 {
		return "; did you mean " + near[0] + "?"
	}
	return ""
}
