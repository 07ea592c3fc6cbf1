package password_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"gatehouse/authsvc/password"
	"gatehouse/event"
)

func TestPolicy(t *testing.T) {
	t.Parallel()
	strict := password.Policy{MinLength: 12, Mixed: true, Digit: true, Special: true, Guessable: true}
	loose := password.Policy{MinLength: 8}
	for _, c := range []struct {
		policy   password.Policy
		password string
		want     []string // words of the error; none: it is fine
	}{
		{password.DefaultPolicy(), "correct horse battery staple", nil},
		{password.DefaultPolicy(), "xK9#mP2$vL5n", nil},
		{password.DefaultPolicy(), "dünen lampe zwölf kupfer", nil},
		{password.DefaultPolicy(), "長い合言葉はとても安全です", nil},
		{password.DefaultPolicy(), "short", []string{"at least 12 characters", "guess"}},
		{password.DefaultPolicy(), "", []string{"at least 12 characters"}},
		{password.DefaultPolicy(), "password1234", []string{"most common"}},
		{password.DefaultPolicy(), "P@ssw0rd2024!", []string{"most common"}},
		{password.DefaultPolicy(), "aaaaaaaaaaaaaaaa", []string{"repeats itself"}},
		{password.DefaultPolicy(), "dfghjkl;'\\][po", []string{"keyboard"}},
		{password.DefaultPolicy(), "alice.miller1999", []string{"others know"}},
		{password.DefaultPolicy(), "AcmeIndustries1", []string{"others know"}},
		{password.DefaultPolicy(), "alice@example.com", []string{"others know"}},
		{password.DefaultPolicy(), "gatehouse2026", []string{"others know"}},
		{password.DefaultPolicy(), strings.Repeat("1@4a", 32), []string{"repeats itself"}},
		{password.DefaultPolicy(), strings.Repeat("x", 129), []string{"longer than 128"}},
		{password.DefaultPolicy(), strings.Repeat("\uFDFA", 30), []string{"longer than 128"}}, // 18 letters each when normalised
		{password.DefaultPolicy(), "a\xff", []string{"UTF-8"}},
		{strict, "correct horse battery staple", []string{"small and capital", "digit", "special"}},
		{strict, "Correct-horse-7-battery", nil},
		{loose, "password", nil},
		{loose, "passwor", []string{"at least 8"}},
		{password.Policy{}, "1234567", []string{"at least 8"}}, // never less, whatever the settings say
		{loose, "pässwörd", nil},                               // characters, not bytes
		{loose, "pässwör", []string{"at least 8"}},
	} {
		err := c.policy.Check(c.password, "alice", "Alice Miller", "alice@example.com", "Acme Industries")
		if (err == nil) != (c.want == nil) {
			t.Errorf("%.40q: %v, want %q", c.password, err, c.want)
			continue
		}
		if err == nil {
			continue
		}
		if e, ok := errors.AsType[*event.Error](err); !ok || e.Field != "password" || e.Code != event.CodeInvalid {
			t.Errorf("%.40q: %#v", c.password, err)
		}
		for _, words := range c.want {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%.40q: %v, want %q", c.password, err, words)
			}
		}
		if len(c.password) > 8 && strings.Contains(err.Error(), c.password) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// TestCommon: what every list of stolen passwords begins with is refused, also dressed up.
func TestCommon(t *testing.T) {
	t.Parallel()
	p := password.Policy{MinLength: 8, Guessable: true}
	for _, word := range []string{
		"password", "12345678", "qwerty123", "iloveyou", "adminsuper", "administrator", "football", "baseball", "superman", "trustno1", "sunshine", "princess",
		"welcome1", "letmein1", "monkey123", "dragon123", "master123", "abc12345", "starwars", "whatever", "passw0rd", "1q2w3e4r", "zaq12wsx", "qazwsxedc",
	} {
		for _, dressed := range []string{word, strings.ToUpper(word), strings.ToUpper(word[:1]) + word[1:], word + "1", word + "!", strings.ToUpper(word[:1]) + word[1:] + "1!"} {
			if p.Check(dressed) == nil {
				t.Errorf("%q is accepted", dressed)
			}
		}
	}
}

// TestCheckProperties: over any texts the rules that can be said in one line hold, and nothing panics.
func TestCheckProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := password.Policy{MinLength: rapid.IntRange(0, 40).Draw(rt, "min"), Guessable: rapid.Bool().Draw(rt, "guessable")}
		text := rapid.OneOf(rapid.String(), rapid.StringN(60, 140, -1), rapid.StringMatching(`[a-zA-Z0-9@$! ]{1,40}`)).Draw(rt, "password")
		err := p.Check(text, rapid.SliceOfN(rapid.String(), 0, 4).Draw(rt, "personal")...)
		if err == nil && utf8.RuneCountInString(text) < 3 {
			rt.Fatalf("%q is accepted", text)
		}
		if err != nil && !p.Guessable && utf8.RuneCountInString(text) >= max(8, p.MinLength) && len(text) <= 128 && fmt.Sprintf("%+q", text) == `"`+text+`"` {
			rt.Fatalf("%q: %v", text, err)
		}
	})
}
