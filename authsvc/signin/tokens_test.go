package signin_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/token"
	"gatehouse/event"
)

// addApp sets an authenticator app up.
func addApp(t testing.TB, s *server, f *signin.Factors, by *authsvc.Actor) (mfa.TOTP, []string) {
	t.Helper()
	secret, address, qr, err := f.BeginTOTP(t.Context(), by)
	if err != nil || !strings.HasPrefix(address, "otpauth://totp/Gatehouse:"+by.Name+"?") || len(qr) == 0 {
		t.Fatalf("%q, %v", address, err)
	}
	app, err := mfa.ReadTOTP(secret)
	if err != nil {
		t.Fatal(err)
	}
	codes, err := f.ConfirmTOTP(t.Context(), by, now(t, s, app))
	if err != nil {
		t.Fatal(err)
	}
	return app, codes
}

// now is a code that was not used yet.
func now(t testing.TB, s *server, app mfa.TOTP) string {
	t.Helper()
	s.clk.add(time.Minute)
	code, err := app.Code(s.clk.now())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestAccessTokens(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s, f, tokens := withFactors(t, databaseURL, clk)
		ada, eve := s.user(t, "ada"), s.user(t, "eve")
		issue := func(login, code string, scopes authsvc.Scopes) (signin.TokenPair, error) {
			return tokens.Issue(ctx, signin.TokenRequest{Request: try(login, good), Code: code, Scopes: scopes})
		}
		must := func(login, code string, scopes authsvc.Scopes) signin.TokenPair {
			t.Helper()
			pair, err := issue(login, code, scopes)
			if err != nil {
				t.Fatal(err)
			}
			return pair
		}
		works := func(what, access string, want bool) *authsvc.Actor {
			t.Helper()
			a, err := tokens.Actor(ctx, access, authsvc.Claim{Address: client.Address})
			if (err == nil) != want || err != nil && !errors.Is(err, authsvc.ErrToken) {
				t.Errorf("%s: %v, want it to work: %v", what, err, want)
			}
			return a
		}

		pair := must("ada", "", 0)
		if a := works("a token", pair.Access, true); a.ID != ada.ID || a.Scopes != authsvc.AllScopes || a.Stage != authsvc.StageDone || !strings.HasPrefix(a.Via, "tokens ") {
			t.Errorf("the token gives %+v", a)
		}
		if !pair.Expires.After(clk.now()) || pair.Expires.After(clk.now().Add(token.AccessLifetime)) {
			t.Errorf("expires %v, now %v", pair.Expires, clk.now())
		}
		limited := must("ada", "", authsvc.ScopeRead)
		if a := works("a limited token", limited.Access, true); a.Scopes != authsvc.ScopeRead || a.Can(authsvc.PermOwnAccount, 0) {
			t.Errorf("a token to read gives %+v", a)
		}
		// A limited one stays so over exchanges.
		next, err := tokens.Refresh(ctx, limited.Refresh, client)
		if err != nil || next.Scopes != authsvc.ScopeRead {
			t.Fatalf("%+v, %v", next, err)
		}
		if a := works("an exchanged token", next.Access, true); a.Scopes != authsvc.ScopeRead {
			t.Errorf("exchanging gives %+v", a)
		}
		works("the token from before the exchange", limited.Access, true)
		if _, err := tokens.Refresh(ctx, limited.Refresh, client); !errors.Is(err, authsvc.ErrToken) {
			t.Errorf("a used refresh token: %v", err)
		}
		works("a token of a family in two hands", next.Access, false)
		works("the token of another sign-in", pair.Access, true)

		// The kinds are not taken for each other, nor is what was changed.
		parts := strings.Split(pair.Access, ".")
		for what, text := range map[string]string{
			"a refresh token": pair.Refresh, "nothing": "", "no signature": parts[0] + "." + parts[1] + ".", "another's signature": parts[0] + "." + parts[1] + "." + strings.Split(next.Access, ".")[2],
			"alg none": b64([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".",
		} {
			works(what, text, false)
		}
		if _, err := tokens.Refresh(ctx, pair.Access, client); !errors.Is(err, authsvc.ErrToken) {
			t.Errorf("an access token as a refresh token: %v", err)
		}

		clk.add(token.AccessLifetime + time.Minute)
		works("a token that is over", pair.Access, false)
		if pair, err = tokens.Refresh(ctx, pair.Refresh, client); err != nil {
			t.Fatal(err)
		}
		by := works("after the exchange", pair.Access, true)
		if err := tokens.End(ctx, by, pair.Access); err != nil {
			t.Fatal(err)
		}
		works("a token of a sign-in that was ended", pair.Access, false)

		// With a second factor.
		pair = must("ada", "", 0)
		app, codes := addApp(t, s, f, works("a token", pair.Access, true))
		works("a token from before there was a second factor", pair.Access, true) // the stage tells what is missing:
		if a, err := tokens.Actor(ctx, pair.Access, authsvc.Claim{}); err != nil || a.Stage != authsvc.StageSecondFactor {
			t.Errorf("%+v, %v", a, err)
		}
		if _, err := issue("ada", "", 0); !errors.Is(err, signin.ErrCodeNeeded) {
			t.Errorf("without a code: %v", err)
		}
		if _, err := issue("ada", "000000", 0); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("with a wrong code: %v", err)
		}
		code := now(t, s, app)
		pair = must("ada", code, 0)
		if a := works("a token with a second factor", pair.Access, true); a.Stage != authsvc.StageDone {
			t.Errorf("stage %d", a.Stage)
		}
		if _, err := issue("ada", code, 0); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("with a code that was used: %v", err)
		}
		must("ada", codes[0], 0)
		if _, err := issue("ada", codes[0], 0); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("with a recovery code that was used: %v", err)
		}
		if pair, err = tokens.Refresh(ctx, pair.Refresh, client); err != nil {
			t.Fatal(err)
		}
		if a := works("an exchange keeps the second factor", pair.Access, true); a.Stage != authsvc.StageDone {
			t.Errorf("stage %d", a.Stage)
		}

		// What ends a person's sessions ends these.
		if _, err := s.store.ResetMFA(ctx, operator, ada.ID); err != nil {
			t.Fatal(err)
		}
		works("a token from before a reset of the second factor", pair.Access, false)
		if _, err := tokens.Refresh(ctx, pair.Refresh, client); !errors.Is(err, authsvc.ErrToken) {
			t.Errorf("a refresh token from before the reset: %v", err)
		}
		pair = must("eve", "", 0)
		if _, err := s.store.DisableUser(ctx, operator, eve.ID); err != nil {
			t.Fatal(err)
		}
		works("a token of somebody disabled", pair.Access, false)
		if _, err := issue("eve", "", 0); !errors.Is(err, signin.ErrWrong) {
			t.Errorf("somebody disabled: %v", err)
		}
		if _, err := s.store.EnableUser(ctx, operator, eve.ID); err != nil {
			t.Fatal(err)
		}
		works("a token from before", pair.Access, false)
		if _, _, err := s.store.ResetPassword(ctx, operator, eve.ID, better); err != nil {
			t.Fatal(err)
		}
		// What is left to do is done with a browser.
		if _, err := tokens.Issue(ctx, signin.TokenRequest{Request: try("eve", better)}); event.ErrorCode(err) != event.CodeForbidden {
			t.Errorf("somebody who must change the password: %v", err)
		}
		if err := s.store.DeleteUser(ctx, operator, ada.ID); err != nil {
			t.Fatal(err)
		}
		works("a token of somebody who is gone", pair.Access, false)
		if trail := s.trail(t); slices.ContainsFunc(trail, func(e string) bool { return strings.Contains(e, "ghr_") || strings.Contains(e, "eyJ") }) {
			t.Errorf("a token stands in the trail:\n%s", strings.Join(trail, "\n"))
		}
	})
}
