package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"

	"gatehouse/event"
)

const (
	// DefaultCost makes one check take about a quarter of a second on a server's core: nothing for a person who signs in, much for one
	// who guesses.
	DefaultCost = 12
	// MinCost is for tests.
	MinCost = bcrypt.MinCost

	// mark begins every hash that we make. What begins otherwise is a plain bcrypt hash from before.
	mark = "$gh1$"
	// hashKey sets these hashes apart from others of the same password: a list of SHA-384 hashes stolen elsewhere cannot be tried against ours.
	hashKey = "gatehouse password v1"

	// MaxBytes is the longest text that is looked at. Longer ones are wrong by themselves.
	MaxBytes = 1024

	// maxWait is how long somebody waits for their turn before they are told to try again.
	maxWait = 5 * time.Second
)

// ErrBusy is the answer when more people sign in than the machine can check in time.
var ErrBusy = event.Errorf(event.CodeUnavailable, "too many people are signing in at this moment: try again in some seconds")

// Hasher makes and checks hashes. It runs at most half of the processors' worth at a time, so that signing in cannot keep events from being
// taken. It is safe for concurrent use.
type Hasher struct {
	cost  int
	turns chan struct{}
	wait  time.Duration
	dummy string
	work  func(cost int)
}

// Option changes how a Hasher works.
type Option func(*Hasher)

// WithTurns sets how many passwords are worked on at a time, and how long others wait.
func WithTurns(n int, wait time.Duration) Option {
	return func(h *Hasher) { h.turns, h.wait = make(chan struct{}, n), wait }
}

// WithWork has f told of every run of bcrypt and its cost, for tests of how much work an answer takes. f may be called concurrently.
func WithWork(f func(cost int)) Option { return func(h *Hasher) { h.work = f } }

// New makes a Hasher for a cost of bcrypt between 4 and 31: one more doubles the work.
func New(cost int, options ...Option) (*Hasher, error) {
	if cost < bcrypt.MinCost || cost > bcrypt.MaxCost {
		return nil, fmt.Errorf("cost of bcrypt: %d is not between %d and %d", cost, bcrypt.MinCost, bcrypt.MaxCost)
	}
	dummy, err := impossible(cost)
	if err != nil {
		return nil, err
	}
	h := &Hasher{cost: cost, turns: make(chan struct{}, max(1, runtime.NumCPU()/2)), wait: maxWait, dummy: dummy, work: func(int) {}}
	for _, o := range options {
		o(h)
	}
	return h, nil
}

// impossible is a well-formed hash of no password that anybody knows. Random letters are as good as a real hash here and cost nothing.
func impossible(cost int) (string, error) {
	const letters = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	random := make([]byte, 53)
	if _, err := io.ReadFull(rand.Reader, random); err != nil {
		return "", fmt.Errorf("no randomness for passwords: %w", err)
	}
	for i, b := range random {
		random[i] = letters[int(b)%len(letters)]
	}
	random[21] = '.' // the salt's last letter holds only two bits
	return fmt.Sprintf("%s$2a$%02d$%s", mark, cost, random), nil
}

// prepare turns a password into what bcrypt hashes: 64 characters without NUL, whatever the length. The same password typed on another
// keyboard may come in other code points, so it is brought to one form (NFKC) first.
func prepare(password string) []byte {
	h := hmac.New(sha512.New384, []byte(hashKey))
	_, _ = h.Write([]byte(norm.NFKC.String(password))) // never fails
	return []byte(base64.RawURLEncoding.EncodeToString(h.Sum(nil)))
}

// Hash is what is stored of a password, at most 100 characters. CodeUnavailable when it was not its turn in time.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > MaxBytes {
		return "", event.FieldError("password", "is longer than %d bytes", MaxBytes)
	}
	done, err := h.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	h.work(h.cost)
	hash, err := bcrypt.GenerateFromPassword(prepare(password), h.cost)
	if err != nil {
		return "", event.Wrap(event.CodeInternal, err, "hash the password")
	}
	return mark + string(hash), nil
}

// Verify tells whether a password is the one of a stored hash. An empty or unreadable hash is no password's, and takes as much work to find
// out as any other, so that nobody learns by the clock which accounts there are. CodeUnavailable when it was not its turn in time.
func (h *Hasher) Verify(ctx context.Context, stored, password string) (bool, error) {
	possible := len(password) <= MaxBytes
	if !possible {
		password = ""
	}
	hash, plain, err := parse(stored)
	if err != nil {
		possible = false
		if hash, plain, err = parse(h.dummy); err != nil {
			return false, event.Wrap(event.CodeInternal, err, "BUG: the hash of nobody")
		}
	}
	input := prepare(password)
	if plain {
		input = []byte(password) // as it was hashed then
	}
	done, err := h.turn(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		return false, event.Wrap(event.CodeInternal, err, "BUG: a parsed hash has no cost")
	}
	h.work(cost)
	err = bcrypt.CompareHashAndPassword(hash, input)
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, event.Wrap(event.CodeInternal, err, "check the password")
	}
	// A hash from when the cost was lower is checked faster. 2^old + 2^old + 2^(old+1) + … + 2^(cost-1) = 2^cost, so these runs bring the work to
	// what it is for all others.
	for ; cost < h.cost; cost++ {
		h.work(cost)
		if _, err := bcrypt.GenerateFromPassword(input[:min(len(input), 72)], cost); err != nil {
			return false, event.Wrap(event.CodeInternal, err, "check the password")
		}
	}
	return err == nil && possible, nil
}

// Stale tells whether a stored hash should be made anew when its password is next at hand: it has another cost than today's, or is of the
// old form.
func (h *Hasher) Stale(stored string) bool {
	hash, plain, err := parse(stored)
	if err != nil || plain {
		return true
	}
	cost, err := bcrypt.Cost(hash)
	return err != nil || cost != h.cost
}

// parse takes a stored hash apart.
func parse(stored string) (hash []byte, plain bool, err error) {
	text, ours := strings.CutPrefix(stored, mark)
	if len(text) != 60 { // every bcrypt hash
		return nil, false, fmt.Errorf("the stored hash has %d characters", len(stored))
	}
	if _, err := bcrypt.Cost([]byte(text)); err != nil {
		return nil, false, err
	}
	return []byte(text), !ours, nil
}

// turn waits until there is room for one more run of bcrypt. done gives the room back.
func (h *Hasher) turn(ctx context.Context) (done func(), err error) {
	release := func() { <-h.turns }
	select {
	case h.turns <- struct{}{}:
		return release, nil
	default:
	}
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.turns <- struct{}{}:
		return release, nil
	case <-timer.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, event.Wrap(event.CodeUnavailable, ctx.Err(), "the request was given up")
	}
}
