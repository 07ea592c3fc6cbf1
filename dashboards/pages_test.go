package dashboards_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/dashboards"
)

// TestFirstStart walks the whole first start by forms, as README tells it, without a script.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	b.get("/account").want("/login?next=%2Faccount", 200, "Sign in")
	b.send("/login", "login", "superadmin", "password", "wrong").want("/login", 401, "The name or the password is wrong")
	if got := b.fields("/login"); got.Get("login") != "superadmin" || got.Get("password") != "" || got.Get("next") != "/account" {
		t.Errorf("after a wrong password the form holds %v", got)
	}
	if got := b.focus(); got != "password" {
		t.Errorf("after a wrong password the cursor is in %q", got)
	}
	b.send("/login", "password", "adminsuper").want("/login/new-password", 200, "at least 12 characters")
	for _, path := range []string{"/account", "/login", "/login/set-up", "/login/second-factor", "/register"} {
		b.get(path).want("/login/new-password", 200)
	}
	b.send("/login/new-password", "old_password", "adminsuper", "password", "short", "again", "short").want("/login/new-password", 400)
	if got := b.problem("password"); !strings.Contains(got, "12 characters") {
		t.Errorf("a short password: %q", got)
	}
	b.send("/login/new-password", "old_password", "adminsuper", "password", good, "again", better).want("/login/new-password", 400)
	if got := b.problem("again"); got == "" {
		t.Error("two different passwords were taken for one")
	}
	b.send("/login/new-password", "old_password", "mistyped", "password", good, "again", good).want("/login/new-password", 400)
	if got := b.problem("old_password"); !strings.Contains(got, "Is not your password") {
		t.Errorf("a wrong old password: %q", got)
	}
	b.send("/login/new-password", "old_password", "adminsuper", "password", good, "again", good).want("/account", 200, "superadmin@example.com", "GlobalAdmin", "No app is set up")

	b.send("/login/set-up/app").want("/login/set-up", 200)
	secret := b.secret()
	b.get("/api/v1/me/totp/qr")
	if b.status != 200 || b.header.Get("Content-Type") != "image/png" || !strings.HasPrefix(b.text, "\x89PNG") {
		t.Errorf("the QR code: %d %s", b.status, b.header.Get("Content-Type"))
	}
	b.get("/login/set-up").send("/login/set-up", "code", "000000").want("/login/set-up", 400)
	if b.problem("code") == "" || b.secret() != secret {
		t.Error("a wrong code is not told beside its field, or the secret has changed")
	}
	if got := b.fields("/login/set-up").Get("code"); got != "" || b.focus() != "code" {
		t.Errorf("after a wrong code the field holds %q, and the cursor is in %q", got, b.focus())
	}
	b.send("/login/set-up", "code", s.code(t, secret)).want("/login/set-up", 200, "They are shown only now")
	codes := b.codes()
	if len(codes) != 10 {
		t.Fatalf("recovery codes: %q", codes)
	}
	b.get("/account").want("/account", 200, "An app is set up", "10 codes are left")
	b.send("/logout").want("/login?done=signedout", 200, "You are signed out.")
	b.get("/account").want("/login?next=%2Faccount", 200)

	s.at(time.Minute) // a code counts once
	b.login("superadmin@example.com", good).want("/login/second-factor", 200)
	b.get("/account").want("/login/second-factor", 200)
	b.send("/login/second-factor", "code", "000000").want("/login/second-factor", 401, "wrong, too old or was used before")
	if got := b.fields("/login/second-factor").Get("code"); got != "" || b.focus() != "code" {
		t.Errorf("after a wrong code the field holds %q, and the cursor is in %q", got, b.focus())
	}
	b.send("/login/second-factor", "code", s.code(t, secret)).want("/", 200)
	b.get("/login").want("/", 200)
	b.get("/account").send("/logout")
	b.login("superadmin", good).send("/login/second-factor", "code", codes[3]).want("/", 200)
	b.get("/account").want("/account", 200, "9 codes are left")
	b.send("/logout")
	b.login("superadmin", good).send("/login/second-factor", "code", codes[3]).want("/login/second-factor", 401)
}

// TestRequiredFactor: whoever needs a second factor sets it up before anything else.
func TestRequiredFactor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.person(t, "ann", func(n *authsvc.NewUser) { n.MFAPolicy = authsvc.MFARequired })
	b := s.browser(t)
	b.get("/login?next=/account").send("/login", "login", "ann", "password", good).want("/login/set-up", 200, "needs a second factor")
	b.get("/account").want("/login/set-up", 200)
	b.send("/login/set-up/app").want("/login/set-up", 200)
	b.send("/login/set-up", "code", s.code(t, b.secret())).want("/login/set-up", 200)
	if len(b.codes()) != 10 {
		t.Errorf("codes %q", b.codes())
	}
	b.get("/login").want("/account", 200)
}

// TestForeignForms: a form without the page's token, with another session's, or from another site changes nothing.
func TestForeignForms(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.person(t, "ann")
	b, other := s.browser(t), s.browser(t)
	theirs := other.login("ann", good).get("/account").fields("/account/name").Get("csrf_token")
	before := b.get("/login").fields("/login").Get("csrf_token")
	b.login("ann", good).want("/", 200)
	for _, token := range map[string]string{"none": "", "nonsense": "AAAA", "another session's": theirs, "from before the sign-in": before} {
		for _, path := range []string{
			"/account/name", "/account/password", "/login/set-up", "/login/set-up/app", "/account/app/remove", "/account/passkeys/remove", "/account/recovery-codes",
			"/account/sessions/end", "/account/sessions/end-all", "/account/tokens", "/account/tokens/revoke", "/account/programs/end", "/logout", "/login", "/register",
		} {
			b.do(http.MethodPost, path, url.Values{"csrf_token": {token}, "display_name": {"Eve"}})
			b.want(path, 403, "did not come from a page of this server", "Request id")
		}
	}
	mine := b.get("/account").fields("/account/name")
	mine.Set("display_name", "Eve")
	b.do(http.MethodPost, "/account/name", mine, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example").want("/account/name", 403)
	b.do(http.MethodPost, "/account/name", mine, "Origin", "null").want("/account/name", 403)
	if got := b.get("/account").fields("/account/name").Get("display_name"); got != "" {
		t.Errorf("a foreign form has changed the name to %q", got)
	}
	b.send("/account/name", "display_name", "Ann").want("/account?done=name", 200, "Your name is changed.")
	if got := b.fields("/account/name").Get("display_name"); got != "Ann" {
		t.Errorf("the name is %q", got)
	}
	if long := b.do(http.MethodPost, "/account/name", url.Values{"csrf_token": {strings.Repeat("x", 70<<10)}}); long.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of 70 KiB: %d", long.status)
	}
	if odd := b.get("/account").send("/account/name", "display_name", "a\x00b"); odd.status != http.StatusBadRequest {
		t.Errorf("a NUL in a form: %d", odd.status)
	}
}

// TestWhereToGoAfterwards: next= leads to pages of this server alone.
func TestWhereToGoAfterwards(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.person(t, "ann")
	for next, want := range map[string]string{
		"/account": "/account", "/account?done=name": "/account?done=name", "": "/", "account": "/",
		"https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/", "/%2f/evil.example": "/", "/..//evil.example": "/",
		"javascript:alert(1)": "/", "/\t/evil.example": "/", "/ /evil.example": "/", "///evil.example": "/", "/x\r\nSet-Cookie: a=b": "/", "http:/evil.example": "/",
	} {
		b := s.browser(t)
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		b.get("/login?next="+url.QueryEscape(next)).send("/login", "login", "ann", "password", good)
		if got := b.header.Get("Location"); b.status != http.StatusSeeOther || got != want {
			t.Errorf("next=%q by the form: %d %q, want %q", next, b.status, got, want)
		}
		// Signed in already, by the address alone; and with a field that was changed on the way.
		if got := b.get("/login?next=" + url.QueryEscape(next)).header.Get("Location"); got != want {
			t.Errorf("next=%q signed in: %q, want %q", next, got, want)
		}
		c := s.browser(t)
		c.client.CheckRedirect = b.client.CheckRedirect
		if got := c.get("/login").send("/login", "login", "ann", "password", good, "next", next).header.Get("Location"); got != want {
			t.Errorf("next=%q in the field: %q, want %q", next, got, want)
		}
	}
}

const (
	markup = `<img src=x onerror=alert(1)>`
	quoted = `"'><script>alert(2)</script>`
)

// TestMarkupIsText: whatever people and programs are called, no page makes markup of it.
func TestMarkupIsText(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newSite(t, func(c *dashboards.PagesConfig) { c.Provider = "With " + quoted })
	if _, err := s.store.SetSetting(ctx, operator, "registration_enabled", "true"); err != nil {
		t.Fatal(err)
	}
	company, err := s.store.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: "Co " + markup})
	if err != nil {
		t.Fatal(err)
	}
	u := s.person(t, "ann", func(n *authsvc.NewUser) {
		n.DisplayName = markup
		n.Memberships = []authsvc.Grant{{CompanyID: company.ID, Role: authsvc.RoleUser}}
	})
	other := s.browser(t)
	other.agent = quoted
	other.login("ann", good).want("/", 200)
	b := s.browser(t)
	check := func(shown ...string) {
		t.Helper()
		for _, n := range find(b.doc, func(n *html.Node) bool { return n.Data == "script" || n.Data == "img" || n.Data == "style" }) {
			if src := attr(n, "src"); n.FirstChild != nil || !strings.HasPrefix(src, "/assets/") && src != "/api/v1/me/totp/qr" {
				t.Errorf("%s holds <%s src=%q>", b.path, n.Data, src)
			}
		}
		for _, n := range find(b.doc, func(*html.Node) bool { return true }) {
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.Contains(strings.ToLower(a.Val), "javascript:") {
					t.Errorf("%s: <%s %s=%q>", b.path, n.Data, a.Key, a.Val)
				}
			}
		}
		for _, text := range shown {
			if !strings.Contains(words(b.doc), text) && !strings.Contains(b.text, html.EscapeString(text)) {
				t.Errorf("%s does not show %s", b.path, text)
			}
		}
	}
	b.get("/login?next=" + url.QueryEscape("/x?"+markup) + "&done=" + url.QueryEscape(markup))
	check("With " + quoted)
	b.send("/login", "login", markup, "password", quoted)
	check(markup)
	b.get("/register").send("/register", "username", markup, "email", quoted, "display_name", quoted, "password", markup)
	check(markup)
	b.login("ann", good).get("/account")
	check(markup, "Co "+markup, quoted)
	b.send("/account/tokens", "name", "T "+markup)
	check("T " + markup)
	token := find(b.doc, func(n *html.Node) bool { return attr(n, "id") == "token" })
	if len(token) != 1 || len(words(token[0])) < 20 {
		t.Fatalf("no token is shown:\n%s", b.text)
	}
	// With a factor shown in this session, one more is not asked for at once.
	b.get("/account").send("/login/set-up/app").send("/login/set-up", "code", s.code(t, b.secret()))
	check()
	actor, err := s.store.ActorFor(ctx, u.ID, authsvc.Claim{Epoch: u.Epoch, SecondFactor: true, Scopes: authsvc.AllScopes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.AddPasskey(ctx, actor, "K "+markup, []byte("id"), `{}`); err != nil {
		t.Fatal(err)
	}
	b.get("/account")
	check("T "+markup, "K "+markup)
	if strings.Contains(b.text, words(token[0])) {
		t.Error("the token is shown again")
	}
	b.do(http.MethodPost, "/account/sessions/end", url.Values{"csrf_token": {b.fields("/account/name").Get("csrf_token")}, "id": {markup}})
	check()
}

// TestAccountTables: sessions, tokens and programs are ended by their buttons, and another's are not.
func TestAccountTables(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.person(t, "ann")
	s.person(t, "bob")
	a, second, bob := s.browser(t), s.browser(t), s.browser(t)
	a.login("ann", good)
	second.login("ann", good).get("/account").want("/account", 200)
	bob.login("bob", good)
	id := a.get("/account").fields("/account/sessions/end").Get("id")
	bob.get("/account")
	token := bob.fields("/account/name").Get("csrf_token")
	bob.do(http.MethodPost, "/account/sessions/end", url.Values{"csrf_token": {token}, "id": {id}}).want("/account/sessions/end", 404, "There is no such session")
	second.get("/account").want("/account", 200)
	a.send("/account/sessions/end").want("/account?done=session", 200, "The session has ended.")
	second.get("/account").want("/login?next=%2Faccount", 200)

	second.login("ann", good).get("/account")
	a.get("/account").send("/account/sessions/end-all").want("/account?done=sessions", 200)
	second.get("/account").want("/login?next=%2Faccount", 200)

	a.send("/account/tokens", "name", "").want("/account/tokens", 400)
	if a.problem("name") == "" {
		t.Error("a token without a name")
	}
	if a.get("/account"); strings.Contains(words(a.doc), "SQL") {
		t.Error("a token may be made for what there is not")
	}
	a.send("/account/tokens", "name", "weekly").want("/account/tokens", 200, "It is shown only now")
	a.get("/account").send("/account/sessions/end-all").want("/account?done=sessions", 200, "weekly")
	a.send("/account/sessions/end-all", "with", "tokens").want("/account?done=sessions", 200)
	if strings.Contains(words(a.doc), "weekly") {
		t.Error("the token outlived what was to end it")
	}
	a.send("/account/tokens", "name", "weekly").want("/account/tokens", 200, "It is shown only now")
	id = a.get("/account").want("/account", 200, "weekly", "read").fields("/account/tokens/revoke").Get("id")
	bob.do(http.MethodPost, "/account/tokens/revoke", url.Values{"csrf_token": {token}, "id": {id}}).want("/account/tokens/revoke", 404)
	a.get("/account").want("/account", 200, "weekly")
	a.send("/account/tokens/revoke").want("/account?done=no-token", 200)
	if strings.Contains(words(a.doc), "weekly") {
		t.Error("the revoked token is in the list")
	}
}

// tellsRules holds that a field tells what a new password must be, before the button that sends it, and that password managers learn whose it is.
func (b *browser) tellsRules(id, username string) {
	b.t.Helper()
	inputs := find(b.doc, func(n *html.Node) bool { return attr(n, "id") == id })
	if len(inputs) != 1 {
		b.t.Fatalf("%s has %d fields %s", b.path, len(inputs), id)
	}
	rules := find(inputs[0].Parent, func(n *html.Node) bool {
		return attr(n, "id") != "" && attr(n, "id") == strings.TrimSpace(attr(inputs[0], "aria-describedby"))
	})
	if len(rules) != 1 || !strings.Contains(words(rules[0]), "at least 12 characters") {
		b.t.Errorf("%s does not tell beside %s what it must be", b.path, id)
	}
	named := find(inputs[0].Parent.Parent, func(n *html.Node) bool { return attr(n, "autocomplete") == "username" })
	if len(named) != 1 || attr(named[0], "value") != username {
		b.t.Errorf("%s does not tell password managers that the password is %q's", b.path, username)
	}
}

// TestNewPasswordForms: every form for a new password says what it must be and whose it is.
func TestNewPasswordForms(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.person(t, "ann")
	s.browser(t).login("superadmin", "adminsuper").want("/login/new-password", 200).tellsRules("new-password", "superadmin")
	b := s.browser(t).login("ann", good).get("/account")
	b.tellsRules("password-password", "ann")
	b.send("/account/password", "old_password", "mistyped", "password", "short", "again", "short").want("/account/password", 400)
	if b.problem("password")+b.problem("old_password") == "" {
		t.Error("a short password is not told beside its field")
	}
}

// TestPasskeysNeedAName: browsers tie passkeys to a name; by an address the pages say which name works instead.
func TestPasskeysNeedAName(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newSite(t)
	ann := s.person(t, "ann")
	s.person(t, "bob", func(n *authsvc.NewUser) { n.MFAPolicy = authsvc.MFARequired })
	named := s.url
	s.url = strings.Replace(named, "localhost", "127.0.0.1", 1)
	none := "Passkeys do not work at an IP address. Open Gatehouse as " + named + " to use them."
	refused := func(b *browser) {
		t.Helper()
		if offers := find(b.doc, func(n *html.Node) bool { return attr(n, "id") == "passkey-form" || attr(n, "id") == "use-passkey" }); len(offers) > 0 {
			t.Errorf("%s offers passkeys at an address", b.path)
		}
	}
	refused(s.browser(t).login("bob", good).want("/login/set-up", 200, none))
	refused(s.browser(t).login("ann", good).get("/account").want("/account", 200, none))

	actor, err := s.store.ActorFor(ctx, ann.ID, authsvc.Claim{Epoch: ann.Epoch, SecondFactor: true, Scopes: authsvc.AllScopes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.AddPasskey(ctx, actor, "blue", []byte("id"), `{}`); err != nil {
		t.Fatal(err)
	}
	refused(s.browser(t).login("ann", good).want("/login/second-factor", 200, none))
	s.url = named
	if b := s.browser(t).login("ann", good); len(find(b.doc, func(n *html.Node) bool { return attr(n, "id") == "use-passkey" })) != 1 {
		t.Error("by a name the passkey is not offered")
	}
}

// TestConfirm: what a session left open is not enough for asks for the password, and then does what was asked.
func TestConfirm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.person(t, "ann")
	s.at(-20 * time.Minute)
	b := s.browser(t)
	b.login("ann", good)
	s.at(0)
	b.get("/account").send("/account/tokens", "name", "nightly").want("/account/tokens", 200, "Give your password")
	b.send("/account/tokens", "confirm_password", "wrong").want("/account/tokens", 400)
	if b.problem("confirm_password") == "" {
		t.Error("a wrong password is not told")
	}
	b.send("/account/tokens", "confirm_password", good).want("/account/tokens", 200, "nightly", "It is shown only now")
	b.get("/account").send("/login/set-up/app").want("/login/set-up/app", 200, "Give your password")
	b.send("/login/set-up/app", "confirm_password", good).want("/login/set-up", 200)
	if b.secret() == "" {
		t.Error("no secret")
	}
	// Changing the password asks for it anyway, and keeps this session.
	b.get("/account").send("/account/password", "old_password", good, "password", better, "again", better).want("/account?done=password", 200)
	b.send("/logout")
	b.login("ann", good).want("/login", 401)
	b.login("ann", better).want("/", 200)
}

// TestConfirmWithFactor: who has a second factor gives a code of it besides, also to end other sessions.
func TestConfirmWithFactor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.person(t, "ann")
	s.at(-40 * time.Minute)
	b := s.browser(t)
	b.login("ann", good)
	b.get("/account").send("/login/set-up/app", "confirm_password", good).send("/login/set-up/app", "confirm_password", good)
	app, err := mfa.ReadTOTP(b.secret())
	if err != nil {
		t.Fatal(err)
	}
	now := func() string {
		code, err := app.Code(s.now())
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	b.send("/login/set-up", "code", now())
	s.at(-20 * time.Minute)
	b = s.browser(t)
	b.login("ann", good).send("/login/second-factor", "code", now()).want("/", 200)
	s.at(0)
	b.get("/account").send("/account/sessions/end-all", "with", "tokens").want("/account/sessions/end-all", 200, "Give your password", "recovery code")
	b.send("/account/sessions/end-all", "confirm_password", good, "confirm_code", "000000").want("/account/sessions/end-all", 400)
	if b.problem("confirm_code") == "" {
		t.Error("a wrong code is not told")
	}
	if got := b.fields("/account/sessions/end-all").Get("confirm_code"); got != "" {
		t.Errorf("the wrong code %q is given back", got)
	}
	b.send("/account/sessions/end-all", "confirm_password", good, "confirm_code", now()).want("/account?done=sessions", 200)
}

// TestRegister: the same sentence whether the name is free or not, and nothing where registration is off.
// follow goes where the button with that text leads.
func (b *browser) follow(text string) *browser {
	b.t.Helper()
	links := find(b.doc, func(n *html.Node) bool { return n.Data == "a" && words(n) == text })
	if len(links) != 1 {
		b.t.Fatalf("%s has %d links %q:\n%s", b.path, len(links), text, words(b.doc))
	}
	return b.get(strings.TrimPrefix(attr(links[0], "href"), b.site.url))
}

// TestIdentities links an account with the identity provider, sets a password and unlinks it again.
func TestIdentities(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *dashboards.PagesConfig) { c.Provider = "Sign in elsewhere" })
	s.person(t, "ada")
	s.idp.who = authsvc.Identity{Issuer: "https://id.example", Subject: "s-1", Email: "ada@example.com", EmailVerified: true, Values: []string{"staff"}}
	b := s.browser(t)
	b.get("/login").follow("Sign in elsewhere").want("/api/v1/auth/oidc/callback", 409, "link it on your account page")

	s.at(-20 * time.Minute)
	b.login("ada", good)
	s.at(0)
	b.get("/account").want("/account", 200, "Your account is not linked")
	b.send("/account/identities/link").want("/account/identities/link", 200, "Give your password")
	b.send("/account/identities/link", "confirm_password", good).want("/account/identities/link", 200, "Your password, second factors, recovery codes and tokens here end with it")
	b.follow("Go on to the provider").want("/account?done=linked", 200, "Your account is linked", "https://id.example", "s-1", "You have none here")
	if !s.idp.anew {
		t.Error("the provider was not asked to have them prove anew who they are")
	}
	s.browser(t).login("ada", good).want("/login", 401)

	// The provider did not say when it asked who they are: it has to ask again before anything that a session left open is not enough for.
	b.send("/account/identities/unlink").want("/account/identities/unlink", 200, "Sign in with the identity provider again")
	b.get("/account").want("/account", 200, "To add a passkey, first sign in again")
	s.idp.anew, s.idp.who.SignedIn = false, time.Now()
	b.send("/account/password", "password", better, "again", better).want("/account/password", 200, "Sign in with the identity provider again")
	if b.follow("Sign in again").want("/account", 200, "You have none here"); !s.idp.anew {
		t.Error("the provider was not asked to have them prove anew who they are")
	}
	b.send("/account/identities/unlink").want("/account/identities/unlink", 409, "set a password first")
	b.send("/account/password", "password", better, "again", better).want("/account?done=password", 200, "Present password")
	b.send("/account/identities/unlink").want("/account?done=unlinked", 200, "The identity is unlinked", "Your account is not linked")
	s.browser(t).login("ada", better).want("/", 200)
}

func TestRegister(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	b.get("/register").want("/register", 404, "ask an administrator")
	if strings.Contains(b.get("/login").text, "/register") {
		t.Error("the sign-in offers what is off")
	}
	if _, err := s.store.SetSetting(context.Background(), operator, "registration_enabled", "true"); err != nil {
		t.Fatal(err)
	}
	s.person(t, "ann")
	b.get("/login").want("/login", 200, "Ask for an account")
	b.get("/register").tellsRules("register-password", "")
	var answers []string
	for _, name := range []string{"ann", "new"} {
		b.get("/register").send("/register", "username", name, "email", name+"@example.com", "password", better).want("/register?sent", 200)
		answers = append(answers, regexp.MustCompile(`value="[^"]*"`).ReplaceAllString(b.text, ""))
	}
	if answers[0] != answers[1] {
		t.Errorf("the answer tells who has an account:\n%s\n%s", answers[0], answers[1])
	}
	b.get("/register").send("/register", "username", "third", "email", "third@example.com", "password", "short").want("/register", 400)
	if b.problem("password") == "" {
		t.Error("a short password is not told beside its field")
	}
	if got := b.login("new", better); got.status != http.StatusUnauthorized {
		t.Errorf("somebody not approved: %d", got.status)
	}
}

// TestPageHeaders: no page may be kept, framed or run what is not ours; every field has a label.
func TestPageHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.person(t, "ann")
	b := s.browser(t)
	look := func() {
		t.Helper()
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
		} {
			if got := b.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", b.path, name, got)
			}
		}
		ids := map[string]bool{}
		for _, n := range find(b.doc, func(n *html.Node) bool { return attr(n, "id") != "" }) {
			if ids[attr(n, "id")] {
				t.Errorf("%s: id %s stands twice", b.path, attr(n, "id"))
			}
			ids[attr(n, "id")] = true
		}
		for _, n := range find(b.doc, func(n *html.Node) bool { return n.Data == "input" || n.Data == "select" || n.Data == "textarea" }) {
			kind := attr(n, "type")
			if kind == "hidden" || kind == "checkbox" {
				continue
			}
			if id := attr(n, "id"); id == "" || !strings.Contains(b.text, `<label for="`+id+`"`) {
				t.Errorf("%s: field %q has no label", b.path, attr(n, "name"))
			}
		}
		for _, n := range find(b.doc, func(n *html.Node) bool { return n.Data == "link" || n.Data == "script" }) {
			asset := s.browser(t).get(attr(n, "src") + attr(n, "href"))
			if asset.status != 200 || !strings.Contains(asset.header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s asks for %s: %d", b.path, asset.path, asset.status)
			}
		}
	}
	b.get("/login")
	look()
	b.login("ann", good).get("/account")
	look()
	b.send("/login/set-up/app")
	look()
	if got := b.do(http.MethodGet, "/account", nil, "X-API-Key", "gh_nonsense"); got.status == 200 {
		t.Errorf("a key gets a page: %d", got.status)
	}
}
