package authsvc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"time"
	"unicode/utf16"

	"gatehouse/internal/reldb"
)

// Outcome is how an act ended.
type Outcome string

// The outcomes.
const (
	Succeeded Outcome = "success"
	Failed    Outcome = "failure" // tried with wrong credentials or values
	Denied    Outcome = "denied"  // not allowed
)

// Entry is what an act adds to the audit trail; who did it, from where and when come from the actor and the clock. Nothing in it may be a
// secret: Before and After are the parts of a thing that may be shown, as they become JSON, and nil where there is none.
type Entry struct {
	Action     string // what was done, such as "key.create": the kind of thing, then the verb
	Outcome    Outcome
	Company    uint32 // whose administrators may read it; 0: GlobalAdmins alone
	TargetKind string // user, company, key, setting, session, …
	TargetID   string
	TargetName string
	Before     any
	After      any
	Detail     string
}

// auditRow is an entry as it stands in the trail.
type auditRow struct {
	seq, at               int64
	action, outcome       string
	actorKind             string
	actorID               int64
	actorName             string
	company               int64
	targetKind, targetID  string
	targetName            string
	ip, via, requestID    string
	before, after, detail string
	prevHash, hash        string
}

const (
	// lockAudit is the first statement of each transaction that adds to the trail: entries are chained one after the other, so
	// whoever adds them takes turns, and since all take this lock first, they cannot wait for each other in a circle.
	lockAudit   = `UPDATE audit_head SET last_seq = last_seq WHERE id = 1`
	readAudit   = `SELECT last_seq, last_hash FROM audit_head WHERE id = 1`
	moveAudit   = `UPDATE audit_head SET last_seq = ?, last_hash = ? WHERE id = 1`
	insertAudit = `INSERT INTO audit_log (seq, at, action, outcome, actor_kind, actor_id, actor_name, company_id, target_kind, target_id, target_name,
    ip, via, request_id, before_json, after_json, detail, prev_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

// auditedTx is a transaction by an actor: what it records in the trail is committed with what it changes, or neither is.
type auditedTx struct {
	*reldb.Tx
	actor *Actor
	now   time.Time
	seq   int64
	hash  string
	moved bool
}

// update runs fn in a transaction by actor that may record entries.
func (s *Store) update(ctx context.Context, actor *Actor, fn func(*auditedTx) error) error {
	return s.db.Update(ctx, func(tx *reldb.Tx) error {
		a, err := beginAudited(ctx, tx, actor, s.now)
		if err != nil {
			return err
		}
		if err := fn(a); err != nil {
			return err
		}
		return a.finish(ctx)
	})
}

func beginAudited(ctx context.Context, tx *reldb.Tx, actor *Actor, now func() time.Time) (*auditedTx, error) {
	if _, err := tx.Exec(ctx, lockAudit); err != nil {
		return nil, err
	}
	// The clock is read under the lock, so that times are in the order of the entries as far as the clocks of the servers agree.
	a := &auditedTx{Tx: tx, actor: actor, now: now()}
	if err := tx.QueryRow(ctx, readAudit).Scan(&a.seq, &a.hash); err != nil {
		return nil, fmt.Errorf("read the head of the audit trail: %w", err)
	}
	return a, nil
}

func (tx *auditedTx) finish(ctx context.Context) error {
	if !tx.moved {
		return nil
	}
	_, err := tx.Exec(ctx, moveAudit, tx.seq, tx.hash)
	return err
}

// record adds an entry to the trail within the transaction.
func (tx *auditedTx) record(ctx context.Context, e Entry) error {
	before, err := auditJSON(e.Before)
	if err != nil {
		return err
	}
	after, err := auditJSON(e.After)
	if err != nil {
		return err
	}
	if e.Outcome == "" {
		e.Outcome = Succeeded
	}
	row := auditRow{
		seq: tx.seq + 1, at: millis(tx.now), action: clip(e.Action, 64), outcome: clip(string(e.Outcome), 16),
		actorKind: string(tx.actor.Kind), actorID: int64(tx.actor.ID), actorName: clip(tx.actor.Name, maxName), company: int64(e.Company),
		targetKind: clip(e.TargetKind, 32), targetID: clip(e.TargetID, 64), targetName: clip(e.TargetName, maxName),
		via: clip(tx.actor.Via, 100), requestID: clip(tx.actor.RequestID, 64), before: before, after: after, detail: clip(e.Detail, maxAuditDetail),
		prevHash: tx.hash,
	}
	if tx.actor.Address.IsValid() {
		row.ip = tx.actor.Address.Unmap().WithZone("").String()
	}
	row.hash = row.sum()
	if _, err := tx.Exec(ctx, insertAudit, row.seq, row.at, row.action, row.outcome, row.actorKind, row.actorID, row.actorName, row.company,
		row.targetKind, row.targetID, row.targetName, row.ip, row.via, row.requestID, row.before, row.after, row.detail, row.prevHash, row.hash); err != nil {
		return fmt.Errorf("add to the audit trail: %w", err)
	}
	tx.seq, tx.hash, tx.moved = row.seq, row.hash, true
	return nil
}

// Record adds an entry that goes with no change in the database, such as a refused sign-in or an export.
func (s *Store) Record(ctx context.Context, actor *Actor, e Entry) error {
	return fail(s.update(ctx, actor, func(tx *auditedTx) error { return tx.record(ctx, e) }), "record in the audit trail")
}

// Limits of an entry: its columns hold no more, and one act must not fill the trail.
const (
	maxAuditJSON   = 16_000 // bytes of Before and of After
	maxAuditDetail = 1000   // characters
)

// auditJSON is v as the trail keeps it. The text is hashed as it stands, so it needs no canonical form; what is too long is left out
// with its size and hash, by which a copy kept elsewhere can be recognised.
func auditJSON(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("BUG: entry of the audit trail: %w", err)
	}
	if len(text) > maxAuditJSON {
		sum := sha256.Sum256(text)
		return fmt.Sprintf(`{"left_out_bytes":%d,"sha256":"%x"}`, len(text), sum), nil
	}
	return string(text), nil
}

// sum is the hash of the row and of the one before it. Each part goes in with its length, so that no two rows have the same text.
func (r *auditRow) sum() string {
	h := sha256.New()
	for _, n := range []int64{r.seq, r.at, r.actorID, r.company} {
		sumInt(h, n)
	}
	for _, text := range []string{
		r.action, r.outcome, r.actorKind, r.actorName, r.targetKind, r.targetID, r.targetName, r.ip, r.via, r.requestID,
		r.before, r.after, r.detail, r.prevHash,
	} {
		sumInt(h, int64(len(text)))
		_, _ = h.Write([]byte(text)) // never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

func sumInt(h hash.Hash, n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)) //nolint:gosec // the bits, whatever the sign
	_, _ = h.Write(b[:])                        // never fails
}

// clip shortens a text to what its column holds and makes it valid UTF-8 without NUL, which PostgreSQL refuses. The limit is in units of
// UTF-16, as SQL Server counts: characters beyond the first 65,536 are two. The other databases count characters, of which there are
// never more.
func clip(text string, limit int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	n := 0
	for i, r := range text {
		if n += utf16.RuneLen(r); n > limit {
			return text[:i]
		}
	}
	return text
}
