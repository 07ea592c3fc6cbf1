package logctx_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"gatehouse/internal/logctx"
)

func TestFields(t *testing.T) {
	t.Parallel()
	if f := logctx.From(context.Background()); f != (logctx.Fields{}) || f.Attrs() != nil {
		t.Errorf("of a bare context: %+v", f)
	}
	request := logctx.With(t.Context(), logctx.Fields{RequestID: "r1", Address: netip.MustParseAddr("::ffff:192.0.2.1")})
	signedIn := logctx.WithUser(request, 7, "alice")
	if got := fmt.Sprint(logctx.From(signedIn).Attrs()); got != "[request_id=r1 user_id=7 address=192.0.2.1]" {
		t.Error(got)
	}
	if f := logctx.From(request); f.UserID != 0 || f.User != "" {
		t.Errorf("the outer context took the person of the inner one: %+v", f)
	}
}
