package authsvc

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gatehouse/event"
)

// AuditAnchor is one place in the trail: the number of an entry and its hash, which covers it and all before it. Kept where those who
// can change the database cannot reach, it shows later that the trail up to there is the one that was.
type AuditAnchor struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
	// First is the number with which the trail began then, 0 where it was not noted. Every removal of old entries since has to be known (Removal):
	// else whoever can write to the database could remove entries and add one that says it was done by the rules.
	First int64 `json:"first_seq,omitempty"`
	// Removal says that the entry tells of a removal of old entries which is known, from the log of the server that did it, to be by the rules.
	Removal bool `json:"-"`
}

// String is what ParseAuditAnchor reads.
func (a AuditAnchor) String() string {
	text := strconv.FormatInt(a.Seq, 10) + ":" + a.Hash
	if a.First > 0 {
		text += ":" + strconv.FormatInt(a.First, 10)
	}
	return text
}

var anchorForm = regexp.MustCompile(`^([0-9]{1,18}):([0-9a-f]{64})(?::([0-9]{1,18}))?$`)

// ParseAuditAnchor reads SEQ:HASH:FIRST or SEQ:HASH, as String writes it.
func ParseAuditAnchor(text string) (a AuditAnchor, err error) {
	m := anchorForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return AuditAnchor{}, event.FieldError("anchor", "%.100q is not SEQ:HASH:FIRST as `gatehouse audit head` prints it", text)
	}
	if a.Seq, err = strconv.ParseInt(m[1], 10, 64); err != nil || a.Seq == 0 {
		return AuditAnchor{}, event.FieldError("anchor", "%.100q names no entry: they count from 1", text)
	}
	if m[3] != "" {
		if a.First, err = strconv.ParseInt(m[3], 10, 64); err != nil || a.First == 0 || a.First > a.Seq {
			return AuditAnchor{}, event.FieldError("anchor", "%.100q says that the trail began with an entry that it cannot have begun with", text)
		}
	}
	a.Hash = m[2]
	return a, nil
}

// AuditHead is where the trail begins and ends.
type AuditHead struct {
	First int64       `json:"first_seq"` // of the oldest entry that is kept
	Start string      `json:"-"`         // the hash that the oldest entry continues
	Last  AuditAnchor `json:"last"`      // the newest entry
}

const readAuditHead = `SELECT first_seq, first_hash, last_seq, last_hash FROM audit_head WHERE id = 1`

// AuditHead reads where the trail begins and ends.
func (s *Store) AuditHead(ctx context.Context, actor *Actor) (AuditHead, error) {
	if err := actor.Require(PermVerifyAudit, 0); err != nil {
		return AuditHead{}, err
	}
	h, err := auditHead(ctx, s.db)
	return h, fail(err, "read the head of the audit trail")
}

func auditHead(ctx context.Context, q rowQuerier) (h AuditHead, err error) {
	err = q.QueryRow(ctx, readAuditHead).Scan(&h.First, &h.Start, &h.Last.Seq, &h.Last.Hash)
	h.Last.First = h.First
	return h, err
}

// AuditBreak is the first place where the trail is not what was written.
type AuditBreak struct {
	Seq     int64  `json:"seq"` // of the entry, or of the first that is missing
	Problem string `json:"problem"`
}

// AuditCheck is what VerifyAudit found.
type AuditCheck struct {
	Head    AuditHead   `json:"head"`
	Entries int64       `json:"entries"`          // that were read and are in order
	Broken  *AuditBreak `json:"broken,omitempty"` // nil: all is as it was written
	// Removals are those of old entries that the trail tells of.
	Removals []AuditRemoval `json:"removals,omitempty"`
}

// AuditRemoval is one removal of old entries, as the trail tells of it.
type AuditRemoval struct {
	Entry   AuditAnchor `json:"entry"` // which tells of it
	At      time.Time   `json:"at"`
	Before  time.Time   `json:"before"` // what was older than this was removed
	Removed int64       `json:"removed"`
	First   int64       `json:"first_seq"` // with which the trail began since
	// Known: it is from before the oldest anchor, which then covers it, or was named as known.
	Known bool `json:"known"`

	start string // the hash that the first entry continues
}

// verifyPage is how many entries are read at once.
const verifyPage = 1000

// VerifyAudit reads the whole trail and tells the first entry that was changed, removed, put in or moved since it was written. It
// finds that without anchors, unless all from that entry on was calculated anew, or the newest entries were cut off, by somebody who
// may write to the database: an anchor kept elsewhere shows these too. A removal of old entries that is neither older than all anchors nor named by one
// (AuditAnchor.Removal) counts as a break: it may have been forged. Entries that are added meanwhile do not matter. It takes about ten seconds for a
// million entries.
func (s *Store) VerifyAudit(ctx context.Context, actor *Actor, anchors ...AuditAnchor) (AuditCheck, error) {
	if err := actor.Require(PermVerifyAudit, 0); err != nil {
		return AuditCheck{}, err
	}
	var check AuditCheck
	// Old entries may be removed by the rules (PurgeAudit) while they are being read; then the beginning has moved: once more.
	for range 3 {
		head, err := auditHead(ctx, s.db)
		if err != nil {
			return AuditCheck{}, fail(err, "read the head of the audit trail")
		}
		check = AuditCheck{Head: head}
		if err := s.verifyAudit(ctx, &check, anchors); err != nil {
			return AuditCheck{}, fail(err, "check the audit trail")
		}
		now, err := auditHead(ctx, s.db)
		if err != nil {
			return AuditCheck{}, fail(err, "read the head of the audit trail")
		}
		if now.First == head.First {
			break
		}
	}
	return check, nil
}

// auditWalk is how far a check has come.
type auditWalk struct {
	seq      int64  // of the last entry that was read, or of the one before the first
	hash     string // of it
	anchors  map[int64]string
	removals []AuditRemoval
}

func (s *Store) verifyAudit(ctx context.Context, check *AuditCheck, anchors []AuditAnchor) error {
	head := check.Head
	if broken := (&AuditBreak{}); head.First < 1 || head.First > head.Last.Seq+1 {
		broken.Seq, broken.Problem = head.First, fmt.Sprintf("the head says that the trail goes from %d to %d, which cannot be", head.First, head.Last.Seq)
		check.Broken = broken
		return nil
	}
	walk := auditWalk{seq: head.First - 1, hash: head.Start, anchors: map[int64]string{}}
	var gone *AuditAnchor
	for i, a := range anchors {
		if a.Seq < walk.seq {
			gone = &anchors[i]
			continue
		}
		if known, twice := walk.anchors[a.Seq]; twice && known != a.Hash {
			return event.FieldError("anchor", "two anchors for entry %d differ", a.Seq)
		}
		walk.anchors[a.Seq] = a.Hash
	}
	check.Broken = walk.anchored()
	for check.Broken == nil && walk.seq < head.Last.Seq {
		page, err := s.auditRows(ctx, s.db, selectAudit+` WHERE seq > ? AND seq <= ? ORDER BY seq`+firstRows(s.db.Dialect(), verifyPage), walk.seq, head.Last.Seq)
		if err != nil {
			return err
		}
		for i := range page {
			if check.Broken = walk.next(&page[i]); check.Broken != nil {
				return nil
			}
			check.Entries++
		}
		if len(page) < verifyPage && walk.seq < head.Last.Seq {
			check.Broken = missing(walk.seq+1, head.Last.Seq)
		}
	}
	if check.Broken == nil {
		check.Broken = walk.end(head)
	}
	if check.Broken == nil {
		check.Broken = walk.removed(head, anchors)
	}
	check.Removals = walk.removals
	if check.Broken != nil {
		return nil
	}
	if gone != nil {
		return event.FieldError("anchor", "entry %d was removed because of its age; the trail begins with %d: use a newer anchor", gone.Seq, head.First)
	}
	var err error
	check.Broken, err = s.auditOutside(ctx, head.First)
	return err
}

// next takes one more entry.
func (w *auditWalk) next(r *auditRow) *AuditBreak {
	switch {
	case r.seq != w.seq+1:
		return missing(w.seq+1, r.seq-1)
	case r.sum() != r.hash:
		return &AuditBreak{r.seq, "the entry was changed: its hash does not fit it"}
	case r.prevHash != w.hash:
		return &AuditBreak{r.seq, "the entry does not continue the one before: one of the two was put in place of another"}
	}
	w.seq, w.hash = r.seq, r.hash
	if broken := w.anchored(); broken != nil || r.action != actionPurge || r.outcome != string(Succeeded) {
		return broken
	}
	var told purgeRecord
	if json.Unmarshal([]byte(r.after), &told) != nil {
		return &AuditBreak{r.seq, "the entry tells of a removal of old entries, and not of which"}
	}
	w.removals = append(w.removals, AuditRemoval{
		Entry: AuditAnchor{Seq: r.seq, Hash: r.hash}, At: time.UnixMilli(r.at).UTC(), Before: told.Before, Removed: told.Removed, First: told.First, start: told.Start,
	})
	return nil
}

// anchored holds the entry that was read last against the anchor for it.
func (w *auditWalk) anchored() *AuditBreak {
	if want, ok := w.anchors[w.seq]; ok && want != w.hash {
		return &AuditBreak{w.seq, "the entry is not the one of the anchor: the trail up to here was written anew"}
	}
	return nil
}

// end holds the whole against what the head says and what the anchors want.
func (w *auditWalk) end(head AuditHead) *AuditBreak {
	if w.hash != head.Last.Hash {
		return &AuditBreak{w.seq, "the entry is not the one that the head names as the last: one of the two was changed"}
	}
	for seq := range w.anchors {
		if seq > w.seq {
			return &AuditBreak{w.seq + 1, fmt.Sprintf("the trail ends with entry %d, but the anchor names %d: the newest entries were cut off", w.seq, seq)}
		}
	}
	// Removing the oldest entries by the rules leaves an entry that tells of it.
	first, start := int64(1), ""
	if n := len(w.removals); n > 0 {
		first, start = w.removals[n-1].First, w.removals[n-1].start
	}
	if first != head.First || start != head.Start {
		return &AuditBreak{head.First, "the trail does not begin where its own entries say: the oldest were removed, or the head was changed"}
	}
	return nil
}

// removed looks at the removals of old entries: such an entry can be forged like any other, by whoever can write to the database.
func (w *auditWalk) removed(head AuditHead, anchors []AuditAnchor) *AuditBreak {
	covered, named := int64(0), map[int64]bool{}
	for _, a := range anchors {
		if a.First > 0 && (covered == 0 || a.Seq < covered) {
			covered = a.Seq
		}
		named[a.Seq] = named[a.Seq] || a.Removal // its hash has been compared
	}
	for i := range w.removals {
		r := &w.removals[i]
		r.Known = r.Entry.Seq <= covered || named[r.Entry.Seq]
		switch {
		case r.At.Sub(r.Before) < MinAuditRetention:
			return &AuditBreak{r.Entry.Seq, fmt.Sprintf("the entry tells of the removal of entries that were younger than %d days, which no setting allows: it was forged", minRetentionDays)}
		case i > 0 && r.First-r.Removed != w.removals[i-1].First:
			return &AuditBreak{r.Entry.Seq, "the entry tells of a removal that does not continue the one before: one of the two was forged"}
		case !r.Known:
			return &AuditBreak{r.Entry.Seq, fmt.Sprintf("the entry tells of the removal of %d entries from before %s, which is not known to be by the rules: look for %s in the log of the server, and name it if it is there (--purged)",
				r.Removed, r.Before.Format(time.RFC3339), r.Entry)}
		}
	}
	for _, a := range anchors {
		if began := w.began(head, a.Seq); a.First > 0 && a.First != began {
			return &AuditBreak{a.First, fmt.Sprintf("by the anchor the trail began with entry %d when entry %d was the newest, by its own entries with %d: the oldest were removed", a.First, a.Seq, began)}
		}
	}
	return nil
}

// began is with which entry the trail began when the one with the number seq was the newest, by what it tells itself.
func (w *auditWalk) began(head AuditHead, seq int64) int64 {
	for i := range w.removals {
		if r := &w.removals[i]; r.Entry.Seq > seq {
			return r.First - r.Removed
		}
	}
	return head.First
}

func missing(from, to int64) *AuditBreak {
	if from == to {
		return &AuditBreak{from, "the entry is missing"}
	}
	return &AuditBreak{from, fmt.Sprintf("entries %d to %d are missing", from, to)}
}

const auditExtent = `SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM audit_log`

// auditOutside looks for entries before the beginning and behind the end. Reading what there is before reading the head again makes
// sure that one that is being added is not taken for one that was put in.
func (s *Store) auditOutside(ctx context.Context, first int64) (*AuditBreak, error) {
	var low, high int64
	if err := s.db.QueryRow(ctx, auditExtent).Scan(&low, &high); err != nil {
		return nil, err
	}
	head, err := auditHead(ctx, s.db)
	if err != nil {
		return nil, err
	}
	switch {
	case high > head.Last.Seq:
		return &AuditBreak{high, "the entry stands behind the end of the trail: it was put in"}, nil
	case low < first && (low != 0 || high != 0):
		return &AuditBreak{low, "the entry stands before the beginning of the trail: it was put in"}, nil
	}
	return nil, nil
}
