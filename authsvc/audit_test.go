package authsvc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// auditColumns are all columns of the trail; those with numbers come first.
var auditColumns = []string{
	"seq", "at", "actor_id", "company_id", "action", "outcome", "actor_kind", "actor_name", "target_kind", "target_id", "target_name",
	"ip", "via", "request_id", "before_json", "after_json", "detail", "prev_hash", "hash",
}

const auditNumbers = 4

// auditTables is everything that the trail is, as it stands in the tables.
type auditTables struct {
	rows [][]any
	head [4]any
}

func readTrail(t *rapid.T, db *reldb.DB) (all auditTables) {
	ctx := context.Background()
	rows, err := db.Query(ctx, `SELECT `+strings.Join(auditColumns, ", ")+` FROM audit_log ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		numbers, texts := make([]int64, auditNumbers), make([]string, len(auditColumns)-auditNumbers)
		var to []any
		for i := range numbers {
			to = append(to, &numbers[i])
		}
		for i := range texts {
			to = append(to, &texts[i])
		}
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		var row []any
		for _, n := range numbers {
			row = append(row, n)
		}
		for _, s := range texts {
			row = append(row, s)
		}
		all.rows = append(all.rows, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	var first, last int64
	var start, end string
	if err := db.QueryRow(ctx, `SELECT first_seq, first_hash, last_seq, last_hash FROM audit_head`).Scan(&first, &start, &last, &end); err != nil {
		t.Fatal(err)
	}
	all.head = [4]any{first, start, last, end}
	return all
}

// write puts a trail in place of the one in the tables.
func (all auditTables) write(t *rapid.T, db *reldb.DB) {
	ctx := context.Background()
	if err := db.Update(ctx, func(tx *reldb.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM audit_log`); err != nil {
			return err
		}
		for _, row := range all.rows {
			if _, err := tx.Exec(ctx, `INSERT INTO audit_log (`+strings.Join(auditColumns, ", ")+`) VALUES (`+strings.TrimSuffix(strings.Repeat("?, ", len(auditColumns)), ", ")+`)`, row...); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE audit_head SET first_seq = ?, first_hash = ?, last_seq = ?, last_hash = ?`, all.head[:]...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func (all auditTables) clone() auditTables {
	c := auditTables{head: all.head}
	for _, row := range all.rows {
		c.rows = append(c.rows, slices.Clone(row))
	}
	return c
}

// drawEntry is an act of any kind, with texts of any kind.
func drawEntry(t *rapid.T) (*authsvc.Actor, authsvc.Entry) {
	actor := authsvc.Local(rapid.String().Draw(t, "actor"))
	actor.ID, actor.Via, actor.RequestID = rapid.Uint32Max(1<<31-1).Draw(t, "id"), rapid.String().Draw(t, "via"), rapid.String().Draw(t, "request")
	if rapid.Bool().Draw(t, "remote") {
		actor.Address = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
	}
	e := authsvc.Entry{
		Action: rapid.SampledFrom([]string{"key.create", "user.change", "session.sign_in"}).Draw(t, "action"), Company: rapid.Uint32Max(5).Draw(t, "company"),
		TargetKind: "key", TargetID: rapid.String().Draw(t, "target id"), TargetName: rapid.String().Draw(t, "target"), Detail: rapid.String().Draw(t, "detail"),
	}
	if rapid.Bool().Draw(t, "changed") {
		e.Before, e.After = rapid.String().Draw(t, "before"), map[string]string{"b": rapid.String().Draw(t, "after"), "a": "1"}
	}
	return actor, e
}

// TestAuditTampering: whatever is done to the trail behind the program's back is found, at its place.
func TestAuditTampering(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		verify := func(t *rapid.T, anchors ...authsvc.AuditAnchor) *authsvc.AuditBreak {
			check, err := s.VerifyAudit(ctx, operator, anchors...)
			if err != nil {
				t.Fatal(err)
			}
			return check.Broken
		}
		rapid.Check(t, func(t *rapid.T) {
			auditTables{head: [4]any{int64(1), "", int64(0), ""}}.write(t, s.DB())
			for range rapid.IntRange(3, 6).Draw(t, "entries") {
				actor, e := drawEntry(t)
				if err := s.Record(ctx, actor, e); err != nil {
					t.Fatal(err)
				}
				clk.add(10 * 24 * time.Hour)
			}
			if rapid.Bool().Draw(t, "purge") {
				if _, _, err := s.PurgeAudit(ctx, operator, clk.now().AddDate(0, 0, -40)); err != nil {
					t.Fatal(err)
				}
			}
			whole := readTrail(t, s.DB())
			first, last := whole.head[0].(int64), whole.head[2].(int64)
			anchor := authsvc.AuditAnchor{Seq: last, Hash: whole.head[3].(string), First: first}
			if b := verify(t, anchor); b != nil {
				t.Fatalf("a trail that nobody touched: %+v", b)
			}

			bad := whole.clone()
			n := len(bad.rows)
			i := rapid.IntRange(0, n-1).Draw(t, "row")
			at := first + int64(i)
			lo, hi, unseen := at, at, false
			switch kind := rapid.SampledFrom([]string{"edit", "remove", "swap", "insert", "head", "cut off", "calculate anew", "forge a removal"}).Draw(t, "kind"); kind {
			case "edit":
				c := rapid.IntRange(1, len(auditColumns)-1).Draw(t, "column")
				if c < auditNumbers {
					bad.rows[i][c] = bad.rows[i][c].(int64) + rapid.Int64Range(1, 9).Draw(t, "by")
				} else {
					bad.rows[i][c] = rapid.StringMatching(`[a-z]{0,12}`).Filter(func(x string) bool { return x != whole.rows[i][c] }).Draw(t, "text")
				}
			case "remove":
				bad.rows = slices.Delete(bad.rows, i, i+1)
			case "swap":
				j := (i + rapid.IntRange(1, n-1).Draw(t, "other")) % n
				bad.rows[i], bad.rows[j] = bad.rows[j], bad.rows[i]
				bad.rows[i][0], bad.rows[j][0] = first+int64(i), first+int64(j)
				lo, hi = first+int64(min(i, j)), first+int64(min(i, j))
			case "insert":
				row := slices.Clone(bad.rows[i])
				row[0] = last + 1
				lo, hi = last+1, last+1
				if rapid.Bool().Draw(t, "before") {
					row[0] = first - 1
					lo, hi = first-1, first-1
				}
				bad.rows = append(bad.rows, row)
			case "head":
				c := rapid.IntRange(0, 3).Draw(t, "column")
				if c%2 == 0 {
					bad.head[c] = bad.head[c].(int64) + rapid.SampledFrom([]int64{-1, 1, 2}).Draw(t, "by")
				} else {
					bad.head[c] = strings.Repeat("0", 64)
				}
				lo, hi = 0, last+3
			case "cut off":
				bad.rows = bad.rows[:n-1]
				bad.head[2], bad.head[3] = last-1, bad.rows[n-2][18]
				// Whether the entry about a removal of old ones was cut off with it decides if this shows without an anchor.
				lo, hi, unseen = 0, last, bad.head[0] == int64(1)
			case "calculate anew":
				bad.rows[i][16] = "nothing happened"
				bad.write(t, s.DB())
				for k := i; k < n; k++ {
					if k > 0 {
						bad.rows[k][17] = bad.rows[k-1][18]
						if k == i {
							bad.rows[k][17] = whole.rows[k][17]
						}
					}
					bad.write(t, s.DB())
					sum, err := authsvc.AuditSum(ctx, s, bad.rows[k][0].(int64))
					if err != nil {
						t.Fatal(err)
					}
					bad.rows[k][18] = sum
				}
				bad.head[3] = bad.rows[n-1][18]
				lo, hi, unseen = last, last, whole.rows[i][16] != "nothing happened" && first == 1
			case "forge a removal":
				// The first entries go, and one is added that says that it was done by the rules: with right hashes, and old enough.
				removed := bad.rows[:i+1]
				days := rapid.SampledFrom([]int{0, 29, 31, 400}).Draw(t, "days")
				row := slices.Clone(bad.rows[n-1])
				row[0], row[1] = last+1, clk.now().UnixMilli()
				for c, name := range auditColumns {
					switch name {
					case "action":
						row[c] = "audit.purge"
					case "outcome":
						row[c] = "success"
					case "after_json":
						row[c] = fmt.Sprintf(`{"removed":%d,"before":%q,"first_seq":%d,"first_hash":%q}`, i+1, clk.now().AddDate(0, 0, -days).Format(time.RFC3339), at+1, removed[i][18])
					case "prev_hash":
						row[c] = bad.head[3]
					}
				}
				bad.rows = append(bad.rows[i+1:], row)
				bad.write(t, s.DB())
				sum, err := authsvc.AuditSum(ctx, s, last+1)
				if err != nil {
					t.Fatal(err)
				}
				row[18] = sum
				bad.head = [4]any{at + 1, removed[i][18], last + 1, sum}
				bad.write(t, s.DB())
				if verify(t) == nil {
					t.Fatal("a forged removal is not seen without an anchor")
				}
				if named := (authsvc.AuditAnchor{Seq: last + 1, Hash: strings.Repeat("0", 64), Removal: true}); verify(t, named) == nil {
					t.Fatal("another removal than the one that is named is not seen")
				}
				lo, hi = last+1, last+1
			}
			bad.write(t, s.DB())
			if unseen {
				if b := verify(t); b != nil {
					t.Fatalf("this cannot be seen without an anchor, so the test is wrong: %+v", b)
				}
			}
			if b := verify(t, anchor); b == nil || b.Seq < lo || b.Seq > hi || b.Problem == "" {
				t.Fatalf("found %+v, want it in %d to %d (trail %d to %d)", b, lo, hi, first, last)
			}
		})
	})
}

// TestAuditConcurrency: writers in two processes make one chain, and each sees the trail grow under a check.
func TestAuditConcurrency(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx := t.Context()
		stores := []*authsvc.Store{open(), open()}
		const writers, each = 8, 12
		var wg sync.WaitGroup
		for w := range writers {
			s := stores[w%2]
			wg.Go(func() {
				for n := range each {
					if err := s.Record(ctx, operator, authsvc.Entry{Action: "key.create", TargetID: fmt.Sprintf("%d-%d", w, n)}); err != nil {
						t.Errorf("record: %v", err)
					}
				}
			})
		}
		wg.Go(func() {
			for range 10 {
				if check, err := stores[0].VerifyAudit(ctx, operator); err != nil || check.Broken != nil {
					t.Errorf("while it grows: %+v, %v", check.Broken, err)
				}
			}
		})
		wg.Wait()
		check, err := stores[1].VerifyAudit(ctx, operator)
		if err != nil || check.Broken != nil || check.Entries != writers*each || check.Head.Last.Seq != writers*each {
			t.Errorf("%+v, %v", check, err)
		}
		seen := map[string]bool{}
		for page := (authsvc.Page{Limit: 7}); ; {
			list, next, err := stores[0].ListAudit(ctx, operator, authsvc.AuditFilter{}, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				seen[r.TargetID] = true
			}
			if page.Cursor = next; next == "" {
				break
			}
		}
		if len(seen) != writers*each {
			t.Errorf("%d different entries, want %d", len(seen), writers*each)
		}
	})
}

// TestAuditRollback: what is not committed is not in the trail, and leaves no gap.
func TestAuditRollback(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		c := mustCompany(t, s, "One")
		if _, err := s.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: "one"}); event.ErrorCode(err) != event.CodeConflict {
			t.Fatal(err)
		}
		mustKey(t, s, c.ID, authsvc.ScopeRead)
		check, err := s.VerifyAudit(ctx, operator)
		if err != nil || check.Broken != nil || check.Entries != 2 {
			t.Errorf("%+v, %v", check, err)
		}
	})
}

// TestAuditEntryBounds: whatever is recorded fits, stays valid, and verifies.
func TestAuditEntryBounds(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		long := strings.Repeat("𝄞", 5000) + "\x00\xff"
		actor := &authsvc.Actor{Kind: authsvc.ActorPerson, Name: long, Via: long, RequestID: long, Address: netip.MustParseAddr("fe80::1%eth0")}
		if err := s.Record(ctx, actor, authsvc.Entry{
			Action: long, Outcome: authsvc.Outcome(long), TargetKind: long, TargetID: long, TargetName: long, Detail: "a\x00b\xff" + long,
			Before: long, After: map[string]string{"x": "\xff\x00<>&"},
		}); err != nil {
			t.Fatal(err)
		}
		check, err := s.VerifyAudit(ctx, operator)
		if err != nil || check.Broken != nil || check.Entries != 1 {
			t.Fatalf("%+v, %v", check, err)
		}
		list, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{}, authsvc.Page{})
		if err != nil || len(list) != 1 {
			t.Fatal(err)
		}
		r := list[0]
		for name, c := range map[string]struct {
			text  string
			limit int
		}{"actor": {r.ActorName, 200}, "via": {r.Via, 100}, "request": {r.RequestID, 64}, "action": {r.Action, 64}, "target": {r.TargetName, 200}, "detail": {r.Detail, 1000}} {
			if n := len(utf16.Encode([]rune(c.text))); n > c.limit || n < c.limit-1 || !utf8.ValidString(c.text) {
				t.Errorf("%s has %d units of UTF-16, its column %d", name, n, c.limit)
			}
		}
		if r.Address != "fe80::1" || !strings.HasPrefix(r.Detail, "a\uFFFDb\uFFFD") {
			t.Errorf("%q, %q", r.Address, r.Detail)
		}
		var left struct {
			Bytes int `json:"left_out_bytes"`
		}
		if err := json.Unmarshal(r.Before, &left); err != nil || left.Bytes <= authsvc.MaxAuditJSON || !json.Valid(r.After) {
			t.Errorf("before %s, after %s: %v", r.Before, r.After, err)
		}
	})
}

func TestClip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text, limit := rapid.String().Draw(t, "text"), rapid.IntRange(0, 20).Draw(t, "limit")
		got := authsvc.Clip(text, limit)
		units := func(s string) int { return len(utf16.Encode([]rune(s))) }
		if units(got) > limit || !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Fatalf("%q to %d: %q", text, limit, got)
		}
		clean := strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
		if !strings.HasPrefix(clean, got) {
			t.Fatalf("%q is not the beginning of %q", got, clean)
		}
		if rest := strings.TrimPrefix(clean, got); rest != "" {
			r, _ := utf8.DecodeRuneInString(rest)
			if units(got)+utf16.RuneLen(r) <= limit {
				t.Fatalf("%q to %d: %q is shorter than need be", text, limit, got)
			}
		}
	})
}

func FuzzAuditAnchor(f *testing.F) {
	f.Add("1:" + strings.Repeat("0a", 32))
	f.Add("7:" + strings.Repeat("0a", 32) + ":3")
	f.Add("0:")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := authsvc.ParseAuditAnchor(text)
		if err != nil {
			if event.ErrorCode(err) != event.CodeInvalid {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if again, err := authsvc.ParseAuditAnchor(a.String()); err != nil || again != a || a.Seq < 1 {
			t.Errorf("%q: %v, %v", text, a, err)
		}
	})
}
