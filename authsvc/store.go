package authsvc

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"time"

	"gatehouse/authsvc/password"
	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// Store is the relational database seen as companies, keys and users. It is safe for concurrent use.
type Store struct {
	db   *reldb.DB
	now  func() time.Time
	rand io.Reader
	cost int // of bcrypt

	passwords *password.Hasher

	mu       sync.Mutex
	watchers []*Resolver // told of changes made here, so that they need not wait for their next look
}

// Option changes what a Store takes from its surroundings.
type Option func(*Store)

// WithClock sets the clock.
func WithClock(now func() time.Time) Option { return func(s *Store) { s.now = now } }

// WithRandom sets where the bits of new keys come from. Anything but crypto/rand makes keys that can be guessed.
func WithRandom(r io.Reader) Option { return func(s *Store) { s.rand = r } }

// WithPasswordCost sets the cost of bcrypt; tests use the lowest.
func WithPasswordCost(cost int) Option { return func(s *Store) { s.cost = cost } }

// WithPasswords sets what hashes passwords, in place of one of the cost that WithPasswordCost says.
func WithPasswords(h *password.Hasher) Option { return func(s *Store) { s.passwords = h } }

// Open connects to the database at databaseURL (see reldb.Open). It makes no tables: run the migrations first.
func Open(ctx context.Context, databaseURL string, options ...Option) (*Store, error) {
	db, err := reldb.Open(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	return New(db, options...), nil
}

// New makes a Store of an open database, which it closes with itself.
func New(db *reldb.DB, options ...Option) *Store {
	s := &Store{db: db, now: time.Now, rand: rand.Reader, cost: password.DefaultCost}
	for _, o := range options {
		o(s)
	}
	if s.passwords == nil {
		var err error
		if s.passwords, err = password.New(s.cost); err != nil {
			panic("BUG: " + err.Error()) // settings are checked where they are read
		}
	}
	return s
}

// Passwords hashes and checks passwords for the whole process: its limit on how many at a time is one limit.
func (s *Store) Passwords() *password.Hasher { return s.passwords }

// DB is the database under the store, for migrations and health checks.
func (s *Store) DB() *reldb.DB { return s.db }

// Close closes the database. Close the resolvers before: they write their counts.
func (s *Store) Close() error { return s.db.Close() }

// bumpDirectory raises the stamp by which every process sees that companies or keys have changed. It comes
// after the lock of the audit trail, which lets changes through one at a time, so that stamps are committed in their order.
const bumpDirectory = `UPDATE revisions SET revision = revision + 1 WHERE topic = 'directory'`

const readDirectory = `SELECT revision FROM revisions WHERE topic = 'directory'`

// changeTx is a transaction that changes companies or keys. Every row that it touches gets its revision: by that, other
// processes find it. Rows are never deleted, since nothing would tell of it.
type changeTx struct {
	*auditedTx
	revision int64
}

// change runs fn in a transaction by actor, who still must be what they were when their request came in (see changePeople): a body may be hours behind its
// headers. It raises the change stamp, and has the resolvers of this process look at once.
func (s *Store) change(ctx context.Context, actor *Actor, fn func(changeTx) error) error {
	err := s.changePeople(ctx, actor, func(tx *auditedTx) error {
		n, err := tx.Exec(ctx, bumpDirectory)
		if err != nil {
			return err
		}
		if n != 1 {
			return fmt.Errorf("BUG: the change stamp of the directory has %d rows", n)
		}
		c := changeTx{auditedTx: tx}
		if err := tx.QueryRow(ctx, readDirectory).Scan(&c.revision); err != nil {
			return err
		}
		return fn(c)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	watchers := append([]*Resolver(nil), s.watchers...)
	s.mu.Unlock()
	for _, r := range watchers {
		r.changed(ctx)
	}
	return nil
}

func (s *Store) watch(r *Resolver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, r)
}

func (s *Store) unwatch(r *Resolver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range s.watchers {
		if w == r {
			s.watchers = append(s.watchers[:i:i], s.watchers[i+1:]...)
			return
		}
	}
}

// fail turns an error of the database into the one error type. What is an event.Error already stays as it is.
func fail(err error, doing string) error {
	if err == nil {
		return nil
	}
	if event.ErrorCode(err) != event.CodeInternal {
		return err
	}
	return event.Wrap(event.CodeInternal, err, doing)
}

// hidden marks an answer that keeps something from the caller, for the log: to the caller it is the answer of what is not there.
func hidden(none *event.Error) *event.Error {
	none.Hidden = true
	return none
}

// millis is a time as the tables hold it.
func millis(t time.Time) int64 { return t.UnixMilli() }

// optionalMillis is a time that may be absent, as a nullable column.
func optionalMillis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// optionalTime is the reverse of optionalMillis.
func optionalTime(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}
