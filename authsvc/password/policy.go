package password

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn"
	"golang.org/x/text/unicode/norm"

	"gatehouse/event"
)

// The bounds of lengths in characters. A policy may ask for a least length between the two.
const (
	ShortestMin = 8
	Longest     = 128
)

// Policy is what a new password must be. Passwords that are in use already are not held to it.
type Policy struct {
	MinLength int  // characters
	Mixed     bool // small and capital letters
	Digit     bool
	Special   bool // something that is neither letter, digit nor space
	// Guessable refuses what an attacker would try early: the most common passwords and words, keyboard patterns, dates, repetitions, and what has to do
	// with the person.
	Guessable bool
}

// DefaultPolicy asks for length and against the guessable, not for kinds of characters: those make people write Password1!.
func DefaultPolicy() Policy { return Policy{MinLength: 12, Guessable: true} }

// minScore of zxcvbn stands for 100 million guesses. Beside limits on signing in, that is years; against a stolen hash,
// bcrypt makes each of them cost a quarter of a second.
const minScore = 3

// scored is how much of a password is looked at for guessing: the time grows with more than the square of the length, and what is hard to guess
// in so many characters gets no easier with more.
const scored = 64

// Check tells what is wrong with a new password, all at once, as one field error; nil: nothing. personal are what an attacker would try first for this
// person: username, display name, e-mail, company.
func (p Policy) Check(password string, personal ...string) error {
	if !utf8.ValidString(password) {
		return event.FieldError("password", "is not valid UTF-8")
	}
	password = norm.NFKC.String(password) // as it is hashed
	length := utf8.RuneCountInString(password)
	if length > Longest || len(password) > MaxBytes {
		return event.FieldError("password", "is longer than %d characters", Longest)
	}
	var wrong []string
	if shortest := max(p.MinLength, ShortestMin); length < shortest {
		wrong = append(wrong, "needs at least "+strconv.Itoa(shortest)+" characters")
	}
	var lower, upper, digit, special bool
	for _, r := range password {
		switch {
		case unicode.IsLower(r):
			lower = true
		case unicode.IsUpper(r), unicode.IsTitle(r):
			upper = true
		case unicode.IsDigit(r):
			digit = true
		case !unicode.IsLetter(r) && !unicode.IsSpace(r):
			special = true
		}
	}
	if p.Mixed && (!lower || !upper) {
		wrong = append(wrong, "needs small and capital letters")
	}
	if p.Digit && !digit {
		wrong = append(wrong, "needs a digit")
	}
	if p.Special && !special {
		wrong = append(wrong, "needs a special character, such as - or !")
	}
	if p.Guessable {
		if why := guessable(password, words(personal)); why != "" {
			wrong = append(wrong, why)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return event.FieldError("password", "%s", strings.Join(wrong, "; "))
}

// guessable says why a password would be tried early, empty when it would not.
func guessable(password string, personal []string) string {
	if runes := []rune(password); len(runes) > scored {
		password = string(runes[:scored])
	}
	lower := strings.ToLower(password)
	for _, w := range personal {
		// With the name taken out there must be a password left.
		if utf8.RuneCountInString(w) >= 4 && strings.Contains(lower, w) && zxcvbn.PasswordStrength(strings.ReplaceAll(lower, w, ""), personal).Score < minScore {
			return "is built on a name, e-mail address or company that others know: choose something else"
		}
	}
	result := zxcvbn.PasswordStrength(password, personal)
	if result.Score >= minScore {
		return ""
	}
	const advice = "; three or four unrelated words, or a password manager's, are better"
	for _, m := range result.Sequence {
		switch {
		case m.DictionaryName == "passwords":
			return "is one of the most common passwords or close to one" + advice
		case m.DictionaryName == "user_inputs":
			return "is built on a name, e-mail address or company that others know: choose something else"
		case m.Pattern == "spatial":
			return "follows the keys of the keyboard" + advice
		case m.Pattern == "repeat" || m.Pattern == "sequence":
			return "repeats itself or counts up" + advice
		}
	}
	return "is too easy to guess" + advice
}

// everybodys are words that are first guesses here whoever signs in: the product's name, and what stands in its documentation.
var everybodys = []string{"gatehouse", "superadmin", "adminsuper"}

// words cuts what is known of a person into what could stand in their password, after what everybody knows.
func words(personal []string) []string {
	list := slices.Clone(everybodys)
	seen := map[string]bool{}
	for _, text := range personal {
		text = strings.ToLower(norm.NFKC.String(text))
		parts := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		for _, w := range append(parts, text, strings.Join(parts, "")) {
			// Very short ones are in every password, very long ones in none.
			if n := utf8.RuneCountInString(w); n >= 3 && n <= scored && !seen[w] && len(list) < 100 {
				seen[w] = true
				list = append(list, w)
			}
		}
	}
	return list
}
