package authsvc_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

func TestPurgeAudit(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		const day = 24 * time.Hour
		var heads []authsvc.AuditAnchor
		for range 10 {
			if err := s.Record(ctx, operator, authsvc.Entry{Action: "key.create"}); err != nil {
				t.Fatal(err)
			}
			head, err := s.AuditHead(ctx, operator)
			if err != nil {
				t.Fatal(err)
			}
			heads = append(heads, head.Last)
			clk.add(10 * day)
		}
		broken := func(want string, anchors ...authsvc.AuditAnchor) {
			t.Helper()
			check, err := s.VerifyAudit(ctx, operator, anchors...)
			switch {
			case err != nil:
				t.Error(err)
			case want == "" && check.Broken != nil, want != "" && (check.Broken == nil || !strings.Contains(check.Broken.Problem, want)):
				t.Errorf("with %v: %+v, want %q", anchors, check.Broken, want)
			}
		}
		if _, _, err := s.PurgeAudit(ctx, operator, clk.now().Add(-30*day+1)); event.ErrorCode(err) != event.CodeInvalid {
			t.Errorf("what is younger than any setting allows was removed: %v", err)
		}
		n, told, err := s.PurgeAudit(ctx, operator, clk.now().Add(-40*day))
		if err != nil || n != 6 || len(told) != 1 || told[0].Seq != 11 {
			t.Fatalf("%d, %v, %v", n, told, err)
		}
		// A removal is known when it was named, or when an anchor was made after it.
		known := told[0]
		known.Removal = true
		head, err := s.AuditHead(ctx, operator)
		if err != nil || head.Last.First != 7 {
			t.Fatal(head, err)
		}
		broken("not known to be by the rules")
		broken("not known to be by the rules", told[0])
		broken("not known to be by the rules", heads[6])
		broken("not known to be by the rules", heads[6], head.Last)
		broken("", known)
		broken("", head.Last)
		broken("", known, heads[5], heads[6], head.Last)
		broken("the oldest were removed", known, authsvc.AuditAnchor{Seq: heads[6].Seq, Hash: heads[6].Hash, First: 2})
		check, err := s.VerifyAudit(ctx, operator, known)
		if err != nil || check.Head.First != 7 || check.Entries != 5 || len(check.Removals) != 1 || !check.Removals[0].Known || check.Removals[0].Removed != 6 {
			t.Errorf("%+v, %v", check, err)
		}
		if _, err := s.VerifyAudit(ctx, operator, known, heads[4]); event.ErrorCode(err) != event.CodeInvalid || !strings.Contains(err.Error(), "because of its age") {
			t.Errorf("an anchor of an entry that is gone: %v", err)
		}
		broken("not known to be by the rules", heads[4])
		// Nothing is old: nothing happens, and nothing is told.
		if n, told, err := s.PurgeAudit(ctx, operator, clk.now().Add(-40*day)); err != nil || n != 0 || told != nil {
			t.Errorf("%d, %v, %v", n, told, err)
		}
		// All is old, the entry about the first removal too.
		clk.add(31 * day)
		n, told, err = s.PurgeAudit(ctx, operator, clk.now().Add(-30*day))
		if err != nil || n != 5 {
			t.Errorf("%d, %v", n, err)
		}
		list, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{}, authsvc.Page{})
		if err != nil || len(list) != 1 || list[0].Action != "audit.purge" {
			t.Errorf("%+v, %v", list, err)
		}
		told[0].Removal = true
		check, err = s.VerifyAudit(ctx, operator, told...)
		if err != nil || check.Broken != nil || check.Head.First != 12 {
			t.Errorf("%+v, %v", check, err)
		}
	})
}
