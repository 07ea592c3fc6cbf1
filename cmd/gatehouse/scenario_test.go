package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"gatehouse/authsvc"
)

// callers are the columns of scenarios: who asks.
//
//	guest     has not signed in
//	other     a CompanyAdmin of another company
//	user      a User of the company
//	cadmin    a CompanyAdmin of it
//	admin     an Admin who is assigned to it
//	global    a GlobalAdmin
//	disabled  a CompanyAdmin of it who was disabled after signing in
//	pending   a CompanyAdmin of it who has not yet given the second factor
//	key       an API key of it that has not the scope that is needed
var callers = []string{"guest", "other", "user", "cadmin", "admin", "global", "disabled", "pending", "key"}

// scenario is one request that each of the callers makes.
type scenario struct {
	route string // method and path as it is routed; {name} is what fixture makes of it
	query string
	body  string
	want  string // for each of callers the status, or login: is sent to sign in, or to go on with it
}

// scenarios are all routes of the server. What stands in braces is made anew for each caller: {user}, {key}, … are of the company that all but "other" belong to;
// {session}, {token} and {program} are the caller's own.
var scenarios = []scenario{
	//                                                                               guest other user  cadmin admin global disabled pending key
	{"POST /api/log_event", "", event1, "                                          401   401   401   401    401   401    401      401     403"},
	{"POST /api/v1/events", "", event1, "                                          401   401   401   401    401   401    401      401     403"},
	{"POST /api/health", "", "", "                                                 200   200   200   200    200   200    200      200     200"},
	{"GET /api/health", "", "", "                                                  200   200   200   200    200   200    200      200     200"},
	{"GET /healthz", "", "", "                                                     200   200   200   200    200   200    200      200     200"},
	{"GET /readyz", "", "", "                                                      200   200   200   200    200   200    200      200     200"},
	{"GET /metrics", "", "", "                                                     200   200   200   200    200   200    200      200     200"},
	{"GET /api/openapi.json", "", "", "                                            200   200   200   200    200   200    200      200     200"},
	{"GET /", "", "", "                                                            200   200   200   200    200   200    200      200     200"},
	{"GET /assets/", "", "", "                                                     404   404   404   404    404   404    404      404     404"},

	// Pages. Whoever has no business at one is sent to where they have to go.
	{"GET /login", "", "", "                                                       200   303   303   303    303   303    200      login   403"},
	{"POST /login", "", "login={username}&password=" + goodPassword, "             303   303   303   303    303   303    403      login   403"},
	{"GET /login/second-factor", "", "", "                                         login 303   303   303    303   303    login    200     403"},
	{"POST /login/second-factor", "", "code=000000", "                             login 303   303   303    303   303    403      401     403"},
	{"GET /login/new-password", "", "", "                                          login 303   303   303    303   303    login    login   403"},
	{"POST /login/new-password", "", aForm, "                                      login 303   303   303    303   303    403      login   403"},
	{"GET /login/set-up", "", "", "                                                login 303   303   303    303   303    login    login   403"},
	{"POST /login/set-up", "", "code=000000", "                                    login 303   303   303    303   303    403      login   403"},
	{"POST /login/set-up/app", "", aForm, "                                        login login login login  login login  403      login   403"},
	{"GET /register", "", "", "                                                    404   303   303   303    303   303    404      login   403"},
	{"POST /register", "", "username=me{n}&email=me{n}@example.com", "             404   303   303   303    303   303    403      login   403"},
	{"POST /logout", "", aForm, "                                                  login login login login  login login  403      login   403"},
	{"GET /account", "", "", "                                                     login 200   200   200    200   200    login    login   403"},
	{"POST /account/name", "", "display_name=x", "                                 login 303   303   303    303   303    403      login   403"},
	{"POST /account/password", "", aForm, "                                        login 400   400   400    400   400    403      login   403"},
	{"POST /account/identities/link", "", aForm, "                                 login 404   404   404    404   404    403      login   403"},
	{"POST /account/identities/unlink", "", "id=987654", "                         login 404   404   404    404   404    403      login   403"},
	{"POST /account/app/remove", "", aForm, "                                      login 409   409   409    409   409    403      login   403"},
	{"POST /account/passkeys/remove", "", "id=987654", "                           login 404   404   404    404   404    403      login   403"},
	{"POST /account/recovery-codes", "", aForm, "                                  login 409   409   409    409   409    403      login   403"},
	{"POST /account/sessions/end", "", "id={session}", "                           login login login login  login login  403      login   403"},
	{"POST /account/sessions/end-all", "", aForm, "                                login 303   303   303    303   303    403      login   403"},
	{"POST /account/tokens", "", "name=x", "                                       login 400   400   400    400   400    403      login   403"},
	{"POST /account/tokens/revoke", "", "id={token}", "                            login 303   303   303    303   303    403      login   403"},
	{"POST /account/programs/end", "", "id={program}", "                           login 303   303   303    303   303    403      login   403"},

	// Reports.
	{"GET /api/v1/reports", ofAlpha, "", "                                         401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/time-spent", ofAlpha + aDay, "", "                       401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/sessions", ofAlpha + aDay, "", "                         401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/signed-in", ofAlpha, "", "                               401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/frequency", ofAlpha + aDay, "", "                        401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/failures", ofAlpha + aDay, "", "                         401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/totals", ofAlpha + aDay, "", "                           401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/first-last", ofAlpha + aDay, "", "                       401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/coverage", ofAlpha + aDay, "", "                         401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/reports/{name}", ofAlpha, "", "                                  401   404   404   404    404   404    401      401     403"},
	{"GET /api/v1/events", ofAlpha + aDay, "", "                                   401   404   200   200    200   200    401      401     403"},
	{"GET /api/v1/events/{id}", ofAlpha, "", "                                     401   404   200   200    200   200    401      401     403"},
	// Without a company it is one's own; who has all says which.
	{"GET /api/v1/reports/totals", aDay, "", "                                     401   200   200   200    200   400    401      401     403"},

	// Signing in and out. A session that has ended has no page that could send its token: 403, and a new one is begun by GET …/csrf.
	{"GET /api/v1/auth/csrf", "", "", "                                            200   200   200   200    200   200    200      200     403"},
	{"POST /api/v1/auth/sign-in", "", signInAs, "                                  200   200   200   200    200   200    403      200     403"},
	{"POST /api/v1/auth/passkey", "", "", "                                        401   409   409   409    409   409    401      409     403"},
	{"POST /api/v1/auth/second-factor", "", `{"code":"000000"}`, "                 401   409   409   409    409   409    401      401     403"},
	{"POST /api/v1/auth/sign-out", "", "", "                                       401   204   204   204    204   204    401      204     403"},
	{"POST /api/v1/auth/sign-out-everywhere", "", "", "                            401   204   204   204    204   204    401      401     403"},
	{"GET /api/v1/auth/oidc", "", "", "                                            404   404   404   404    404   404    404      404     403"},
	{"GET /api/v1/auth/oidc/callback", "", "", "                                   404   404   404   404    404   404    404      404     403"},
	{"POST /api/v1/auth/register", "", registerAs, "                               403   403   403   403    403   403    403      403     403"},
	{"POST /api/v1/auth/token", "", signInAs, "                                    200   200   200   200    200   200    200      200     200"},
	{"POST /api/v1/auth/refresh", "", `{"refresh_token":"none"}`, "                401   401   401   401    401   401    401      401     401"},

	// One's own account.
	{"GET /api/v1/me", "", "", "                                                   401   200   200   200    200   200    401      200     200"},
	{"POST /api/v1/me/password", "", newPassword, "                                401   204   204   204    204   204    401      401     403"},
	{"GET /api/v1/me/sessions", "", "", "                                          401   200   200   200    200   200    401      401     403"},
	{"DELETE /api/v1/me/sessions/{session}", "", "", "                             401   204   204   204    204   204    401      401     403"},
	{"POST /api/v1/me/totp", "", "{}", "                                           401   200   200   200    200   200    401      401     403"},
	{"GET /api/v1/me/totp/qr", "", "", "                                           401   409   409   409    409   409    401      401     403"},
	{"POST /api/v1/me/totp/confirm", "", `{"code":"000000"}`, "                    401   409   409   409    409   409    401      401     403"},
	{"DELETE /api/v1/me/totp", "", "", "                                           401   409   409   409    409   409    401      401     403"},
	{"GET /api/v1/me/recovery-codes", "", "", "                                    401   200   200   200    200   200    401      401     403"},
	{"POST /api/v1/me/recovery-codes", "", "", "                                   401   409   409   409    409   409    401      401     403"},
	{"GET /api/v1/me/passkeys", "", "", "                                          401   200   200   200    200   200    401      401     403"},
	{"POST /api/v1/me/passkeys/begin", "", "", "                                   401   200   200   200    200   200    401      401     403"},
	{"POST /api/v1/me/passkeys", "", `{"name":"a","credential":{}}`, "             401   400   400   400    400   400    401      400     403"},
	{"DELETE /api/v1/me/passkeys/{passkey=none}", "", "", "                        401   404   404   404    404   404    401      401     403"},
	{"GET /api/v1/me/identities", "", "", "                                        401   200   200   200    200   200    401      401     403"},
	{"POST /api/v1/me/identities", "", "", "                                       401   404   404   404    404   404    401      401     403"},
	{"DELETE /api/v1/me/identities/{identity=none}", "", "", "                     401   404   404   404    404   404    401      401     403"},
	{"GET /api/v1/me/programs", "", "", "                                          401   200   200   200    200   200    401      401     403"},
	{"DELETE /api/v1/me/programs/{program}", "", "", "                             401   204   204   204    204   204    401      401     403"},
	{"GET /api/v1/me/tokens", "", "", "                                            401   200   200   200    200   200    401      401     403"},
	{"POST /api/v1/me/tokens", "", newToken, "                                     401   201   201   201    201   201    401      401     403"},
	{"DELETE /api/v1/me/tokens/{token}", "", "", "                                 401   204   204   204    204   204    401      401     403"},

	// People.
	{"GET /api/v1/users", "", "", "                                                401   200   403   200    200   200    401      401     403"},
	{"GET /api/v1/users", "company={company}", "", "                               401   404   403   200    200   200    401      401     403"},
	{"POST /api/v1/users", "", newPerson, "                                        401   404   403   201    201   201    401      401     403"},
	{"POST /api/v1/users", "", newAdmin, "                                         401   403   403   403    403   201    401      401     403"},
	{"GET /api/v1/users/{user}", "", "", "                                         401   404   404   200    200   200    401      401     404"},
	{"PATCH /api/v1/users/{user}", "", `{"display_name":"x"}`, "                   401   404   404   200    200   200    401      401     404"},
	{"PATCH /api/v1/users/{user}", "", `{"role":"Admin"}`, "                       401   404   404   403    403   200    401      401     404"},
	{"DELETE /api/v1/users/{user}", "", "", "                                      401   403   403   403    403   204    401      401     403"},
	{"POST /api/v1/users/{user}/approve", "", "{}", "                              401   404   404   409    409   409    401      401     404"},
	{"POST /api/v1/users/{user}/disable", "", "", "                                401   404   404   200    200   200    401      401     404"},
	{"POST /api/v1/users/{user}/enable", "", "", "                                 401   404   404   200    200   200    401      401     404"},
	{"POST /api/v1/users/{user}/reset-password", "", "{}", "                       401   404   404   200    200   200    401      401     404"},
	{"POST /api/v1/users/{user}/reset-mfa", "", "", "                              401   404   404   200    200   200    401      401     404"},
	{"GET /api/v1/users/{user}/identities", "", "", "                              401   404   404   200    200   200    401      401     404"},
	{"DELETE /api/v1/users/{user}/identities/{identity=none}", "", "", "           401   404   404   404    404   404    401      401     404"},
	{"GET /api/v1/users/{user}/sessions", "", "", "                                401   404   404   200    200   200    401      401     404"},
	{"DELETE /api/v1/users/{user}/sessions", "", `{"tokens":true}`, "              401   404   404   204    204   204    401      401     404"},
	{"GET /api/v1/users/{user}/memberships", "", "", "                             401   404   404   200    200   200    401      401     404"},
	{"GET /api/v1/companies/{company}/members", "", "", "                          401   404   403   200    200   200    401      401     403"},
	{"PUT /api/v1/users/{user}/memberships/{company}", "", asCompanyAdmin, "       401   404   403   200    200   200    401      401     403"},
	{"DELETE /api/v1/users/{user}/memberships/{company}", "", "", "                401   404   403   204    204   204    401      401     403"},

	// Companies. {spare} is one to which the caller belongs as to the first.
	{"GET /api/v1/companies", "", "", "                                            401   200   200   200    200   200    401      401     403"},
	{"POST /api/v1/companies", "", `{"name":"Company {n}"}`, "                     401   403   403   403    403   201    401      401     403"},
	{"GET /api/v1/companies/{company}", "", "", "                                  401   404   200   200    200   200    401      401     403"},
	{"PATCH /api/v1/companies/{company}", "", `{"timezone":"UTC"}`, "              401   404   403   403    403   200    401      401     403"},
	{"POST /api/v1/companies/{company=spare}/disable", "", "", "                   401   404   403   403    403   200    401      401     404"},
	{"POST /api/v1/companies/{company=spare}/enable", "", "", "                    401   404   403   403    403   200    401      401     404"},

	// Keys.
	{"GET /api/v1/keys", "", "", "                                                 401   200   403   200    200   200    401      401     403"},
	{"GET /api/v1/companies/{company}/keys", "", "", "                             401   404   403   200    200   200    401      401     403"},
	{"POST /api/v1/companies/{company}/keys", "", `{"scopes":["read"]}`, "         401   404   403   201    201   201    401      401     403"},
	{"GET /api/v1/companies/{company}/keys/{key}", "", "", "                       401   404   403   200    200   200    401      401     403"},
	{"PATCH /api/v1/companies/{company}/keys/{key}", "", `{"note":"x"}`, "         401   404   403   200    200   200    401      401     403"},
	{"POST /api/v1/companies/{company}/keys/{key}/rotate", "", "", "               401   404   403   200    200   200    401      401     403"},
	{"POST /api/v1/companies/{company}/keys/{key}/disable", "", "", "              401   404   403   200    200   200    401      401     403"},
	{"POST /api/v1/companies/{company}/keys/{key}/enable", "", "", "               401   404   403   200    200   200    401      401     403"},
	{"DELETE /api/v1/companies/{company}/keys/{key}", "", "", "                    401   404   403   204    204   204    401      401     403"},
	{"GET /api/v1/companies/{company}/keys/{key}/days", "", "", "                  401   404   403   200    200   200    401      401     403"},

	// Settings and trails.
	{"GET /api/v1/settings", "", "", "                                             401   403   403   403    403   200    401      401     403"},
	{"GET /api/v1/settings/{name=token_max_days}", "", "", "                       401   403   403   403    403   200    401      401     403"},
	{"PUT /api/v1/settings/{name=token_max_days}", "", `{"value":"300"}`, "        401   403   403   403    403   200    401      401     403"},
	{"DELETE /api/v1/settings/{name=token_max_days}", "", "", "                    401   403   403   403    403   200    401      401     403"},
	{"GET /api/v1/domains", "", "", "                                              401   403   403   403    403   200    401      401     403"},
	{"POST /api/v1/domains", "", `{"domain":"d{n}.example"}`, "                    401   403   403   403    403   201    401      401     403"},
	{"DELETE /api/v1/domains/{domain}", "", "", "                                  401   403   403   403    403   204    401      401     403"},
	{"GET /api/v1/audit", "", "", "                                                401   200   403   200    200   200    401      401     403"},
	{"GET /api/v1/audit", "company={company}", "", "                               401   404   403   200    200   200    401      401     403"},
	{"GET /api/v1/audit/verify", "", "", "                                         401   403   403   403    403   200    401      401     403"},
	{"GET /api/v1/errors", "", "", "                                               401   403   403   403    403   200    401      401     403"},
	{"GET /api/v1/errors/{error}", "", "", "                                       401   403   403   403    403   200    401      401     403"},
	{"DELETE /api/v1/errors", "before=2000-01-01T00:00:00Z", "", "                 401   403   403   403    403   200    401      401     403"},

	// The last, as nobody is signed in after it.
	{"POST /api/v1/sessions/end-all", "", "{}", "                                  401   403   403   403    403   204    401      401     403"},
}

// What the scenarios send.
const (
	ofAlpha        = "company=Alpha&"
	aDay           = "from=2025-05-25&to=2025-05-26"
	event1         = `{"EventType":"Logon","UserName":"alice","ComputerName":"PC1","Timestamp":"2025-05-25T09:00:00Z"}`
	signInAs       = `{"login":"{username}","password":"` + goodPassword + `"}`
	registerAs     = `{"username":"me{n}","email":"me{n}@example.com","password":"` + goodPassword + `"}`
	aForm          = "x=y"
	newPassword    = `{"old_password":"` + goodPassword + `","password":"quite-another-thing-8"}`
	newToken       = `{"name":"token{n}","scopes":["read"],"expires":"{soon}"}`
	newPerson      = `{"username":"new{n}","email":"new{n}@example.com","memberships":[{"company_id":{company},"role":"User"}]}`
	newAdmin       = `{"username":"new{n}","email":"new{n}@example.com","role":"Admin","memberships":[{"company_id":{company},"role":"User"}]}`
	asCompanyAdmin = `{"role":"CompanyAdmin"}`
)

// scene is what the scenarios play in.
type scene struct {
	*people
	alpha, beta authsvc.Company
	event       string // an event of alpha
	key         string // of alpha, with the scope sql alone
}

func newScene(t *testing.T) *scene {
	s := &scene{people: startPeople(t, nil)}
	s.alpha, s.beta = s.company("Alpha"), s.company("Beta")
	_, s.key = s.people.key(s.alpha.ID, authsvc.ScopeSQL)
	_, send := s.people.key(s.alpha.ID, authsvc.ScopeIngest|authsvc.ScopeRead)
	sender := s.program("X-API-Key", send)
	sender.want(201, http.MethodPost, "/api/log_event", event1)
	if err := s.writer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var found struct{ Rows []struct{ ID string } }
	if err := json.Unmarshal([]byte(sender.want(200, http.MethodGet, "/api/v1/events?"+aDay, "").body), &found); err != nil || len(found.Rows) != 1 {
		t.Fatal(found, err)
	}
	s.event = found.Rows[0].ID
	return s
}

// caller is a browser or program of one of callers, and the person behind it, nobody for guests and keys.
func (s *scene) caller(name string) (*browser, authsvc.User) {
	var u authsvc.User
	switch name {
	case "guest":
		b := s.browser()
		b.want(200, http.MethodGet, "/api/v1/auth/csrf", "")
		return b, u
	case "key":
		return s.program("X-API-Key", s.key), u
	case "other":
		u = s.person("", authsvc.RoleCompanyAdmin, s.beta.ID)
	case "user":
		u = s.person("", authsvc.RoleUser, s.alpha.ID)
	case "cadmin", "disabled", "pending":
		u = s.person("", authsvc.RoleCompanyAdmin, s.alpha.ID)
	case "admin":
		u = s.person(authsvc.RoleAdmin, authsvc.RoleAdmin, s.alpha.ID)
	case "global":
		u = s.person(authsvc.RoleGlobalAdmin, "")
	}
	if name == "pending" {
		s.withApp(&u)
	}
	b := s.signIn(&u)
	if name == "disabled" {
		u = must(s.store.DisableUser(context.Background(), localActor(), u.ID))
	}
	return b, u
}

// fixture fills in what stands in braces; of is whom what is somebody's own belongs to.
func (s *scene) fixture(text string, of *authsvc.User) string {
	ctx := context.Background()
	fill := func(name string, value func() string) {
		if strings.Contains(text, "{"+name+"}") {
			text = strings.ReplaceAll(text, "{"+name+"}", value())
		}
	}
	id := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	text = strings.NewReplacer("{name=", "{", "{company=", "{", "{passkey=", "{", "{identity=", "{").Replace(text)
	fill("company", func() string { return id(s.alpha.ID) })
	fill("token_max_days", func() string { return "token_max_days" })
	fill("name", func() string { return "nonsense" })
	fill("none", func() string { return "987654" })
	fill("id", func() string { return s.event })
	fill("n", func() string { return s.unique("") })
	fill("soon", func() string { return time.Now().Add(time.Hour).UTC().Format(time.RFC3339) })
	fill("spare", func() string {
		c := s.company(s.unique("Spare "))
		for _, m := range must(s.store.GetUser(ctx, localActor(), max(of.ID, 1))).Memberships {
			if of.ID != 0 && m.CompanyID == s.alpha.ID {
				// Behind the store's back, which would end their session.
				db := s.store.DB()
				must(db.Writer().ExecContext(ctx, db.Dialect().Rebind(`INSERT INTO memberships (user_id, company_id, role, created_at) VALUES (?, ?, ?, 1)`), of.ID, c.ID, string(m.Role)))
			}
		}
		return id(c.ID)
	})
	user := func() authsvc.User { return s.person("", authsvc.RoleUser, s.alpha.ID) }
	fill("user", func() string { return id(user().ID) })
	fill("username", func() string { return user().Username })
	fill("key", func() string { k, _ := s.people.key(s.alpha.ID, authsvc.ScopeRead); return id(k.ID) })
	fill("domain", func() string {
		return must(s.store.AddDomain(ctx, localActor(), s.unique("domain")+".example")).Name
	})
	fill("error", func() string {
		for {
			rows, _, err := s.store.ListErrors(ctx, localActor(), authsvc.ErrorFilter{}, authsvc.Page{Limit: 1})
			if must(rows, err); len(rows) > 0 {
				return strconv.FormatInt(rows[0].ID, 10)
			}
			s.log.Error("an error, to be found")
			time.Sleep(50 * time.Millisecond)
		}
	})
	if of.ID == 0 || of.State() != authsvc.UserActive {
		fill("session", func() string { return strings.Repeat("0", 16) })
		fill("program", func() string { return strings.Repeat("0", 32) })
		fill("token", func() string { return "1" })
		fill("passkey", func() string { return "1" })
		return text
	}
	actor := s.actor(of)
	fill("session", func() string { return must(s.store.SessionsOf(ctx, of.ID, time.Now()))[0].IDHash[:16] })
	fill("program", func() string {
		f, _, err := s.store.StartFamily(ctx, actor, authsvc.Family{UserID: of.ID, Epoch: actor.Epoch, Scopes: authsvc.AllScopes})
		return must(f, err).ID
	})
	fill("token", func() string {
		t, _, err := s.store.CreatePersonalToken(ctx, actor, authsvc.NewPersonalToken{Name: s.unique("token"), Scopes: authsvc.ScopeRead, Expires: time.Now().Add(time.Hour)})
		return id(must(t, err).ID)
	})
	fill("passkey", func() string {
		name := s.unique("passkey")
		must(s.store.AddPasskey(ctx, actor, name, []byte(name), "{}"))
		return id(must(s.store.Passkeys(ctx, of.ID))[0].ID)
	})
	return text
}

// request makes a scenario's method, address and body for a caller.
func (s *scene) request(sc *scenario, of *authsvc.User) (method, address, body string) {
	method, path, _ := strings.Cut(sc.route, " ")
	address = s.fixture(path+"?"+sc.query, of)
	return method, strings.TrimSuffix(address, "?"), s.fixture(sc.body, of)
}

// pattern is the route as the router has it.
func (sc *scenario) pattern() string {
	return strings.NewReplacer("=spare}", "}", "=token_max_days}", "}", "=none}", "}").Replace(sc.route)
}

// TestScenarios has each of the callers make each request, and tells routes that have none.
func TestScenarios(t *testing.T) {
	s := newScene(t)
	for _, missing := range unmatched(t, s.server) {
		t.Error(missing)
	}
	type known struct {
		b   *browser
		who authsvc.User
	}
	readers := make([]known, len(callers))
	for j, name := range callers {
		readers[j].b, readers[j].who = s.caller(name)
	}
	for i := range scenarios {
		sc := &scenarios[i]
		want := strings.Fields(sc.want)
		if len(want) != len(callers) {
			t.Fatalf("%s: %d statuses for %d callers", sc.route, len(want), len(callers))
		}
		got := make([]string, len(callers))
		var last reply
		for j, name := range callers {
			b, who := readers[j].b, readers[j].who
			if !strings.HasPrefix(sc.route, "GET ") {
				b, who = s.caller(name) // what others changed must not count
			}
			method, address, body := s.request(sc, &who)
			var headers []string
			if !strings.HasPrefix(address, "/api/") && body != "" {
				headers = []string{"Content-Type", "application/x-www-form-urlencoded"}
			}
			r := b.ask(method, address, body, headers...)
			if got[j] = r.outcome(); got[j] != want[j] {
				last = r
			}
			if problem := odd(r, address); problem != "" {
				t.Errorf("%s by %s: %s", sc.route, name, problem)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s %s\n  callers %v\n  got     %v\n  want    %v\n  %s", sc.route, sc.query, callers, got, want, last.body)
		}
	}
}

// outcome is the status, or login where the browser is sent to sign in, or to go on with it.
func (r reply) outcome() string {
	if r.status == http.StatusSeeOther && strings.HasPrefix(r.header.Get("Location"), "/login") {
		return "login"
	}
	return strconv.Itoa(r.status)
}

// odd tells what no answer may be.
func odd(r reply, address string) string {
	switch {
	case r.status >= 500:
		return fmt.Sprintf("%d %s", r.status, r.body)
	case strings.HasPrefix(address, "/api/v1/") && r.header.Get("Cache-Control") != "no-store" && !strings.HasPrefix(address, "/api/v1/events"):
		return "may be cached"
	case r.header.Get("X-Content-Type-Options") != "nosniff":
		return "may be taken for something else"
	case strings.HasPrefix(address, "/api/v1/") && r.status >= 400 && (r.text("status") != "error" || r.text("message") == ""):
		return "an error without a message: " + r.body
	}
	return ""
}

// unmatched lists routes without a scenario, and scenarios without a route.
func unmatched(t *testing.T, s *server) (out []string) {
	t.Helper()
	routed := map[string]bool{}
	err := s.router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		switch {
		case err == nil:
		case path == "/api/log_event": // checks the method itself
			methods = []string{http.MethodPost}
		default:
			methods = []string{http.MethodGet}
		}
		for _, m := range methods {
			if m != http.MethodHead {
				routed[m+" "+path] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for i := range scenarios {
		have[scenarios[i].pattern()] = true
	}
	for route := range routed {
		if !have[route] {
			out = append(out, route+" has no scenario")
		}
	}
	for route := range have {
		if !routed[route] {
			out = append(out, route+" has a scenario and is not routed")
		}
	}
	slices.Sort(out)
	return out
}
