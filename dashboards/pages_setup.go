package dashboards

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
	"gatehouse/internal/edge"
)

// setUpPage is where people set up a second factor.
type setUpPage struct {
	Required bool // it is what is missing of the sign-in
	Begin    form // for an app
	Secret   string
	Picture  string // the QR code's address
	Confirm  form   // once there is a secret
	Passkey  passkeyPart
	Back     string
}

// passkeyPart is what the script for passkeys works with.
type passkeyPart struct {
	Password bool   // has to be given
	Code     bool   // the same, of the second factor
	Anew     string // where to confirm first who they are; empty: nowhere
	Next     string
	Not      string // why passkeys do not work by this address; empty: they do
}

// noPasskeys says where passkeys work if they do not by the address of this request: browsers tie them to a name. Empty: they do.
func (v *visit) noPasskeys() string {
	at := edge.FromContext(v.ctx)
	u, err := url.Parse(at.BaseURL())
	if err != nil {
		return ""
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return ""
	}
	instead := "by the server's name"
	if ip.IsLoopback() {
		u.Host = strings.TrimSuffix(net.JoinHostPort("localhost", u.Port()), ":")
		instead = "as " + u.String()
	}
	return "Passkeys do not work at an IP address. Open Gatehouse " + instead + " to use them."
}

func confirmForm() form {
	return form{
		Name: "app", Action: "/login/set-up", Button: "Set it up",
		Fields: []field{{
			Name: "code", Label: "Code that the app shows now", Complete: oneTimeCode, Mode: "numeric", Focus: true, Long: 12,
		}},
	}
}

func beginForm() form {
	return form{Name: "begin", Action: "/login/set-up/app", Button: "Set up an authenticator app"}
}

// showSetUp shows the app that is being set up, or how to begin.
func showSetUp(v *visit) error {
	secret, _, _, err := v.pages.factors.PendingTOTP(v.ctx, v.Actor())
	required := v.Actor().Stage == authsvc.StageSetUpFactor
	switch {
	case event.ErrorCode(err) == event.CodeConflict && !required:
		return v.to("/account#factors")
	case event.ErrorCode(err) == event.CodeConflict: // none is being set up
	case err != nil:
		return err
	}
	return v.show("setup", "Set up a second factor", func() any {
		begin := beginForm()
		if begin.Quiet = secret != ""; begin.Quiet {
			begin.Button = "Begin anew with a new QR code"
		}
		return setUpPage{
			Required: required, Begin: v.filled(begin), Secret: inFours(secret), Picture: v.base() + "/api/v1/me/totp/qr", Confirm: v.filled(confirmForm()),
			Passkey: passkeyPart{Next: v.base() + "/login", Not: v.noPasskeys()}, Back: v.base() + "/account#factors",
		}
	})
}

// inFours makes a secret easier to type.
func inFours(secret string) string {
	var b []byte
	for i := range len(secret) {
		if i > 0 && i%4 == 0 {
			b = append(b, ' ')
		}
		b = append(b, secret[i])
	}
	return string(b)
}

// beginApp makes the secret of an app. Who has signed in to the end confirms that it is them.
func beginApp(v *visit) error {
	if v.Actor().Stage == authsvc.StageDone {
		if ok, err := v.confirmed("Set up an authenticator app"); !ok {
			return err
		}
	}
	if _, _, _, err := v.pages.factors.BeginTOTP(v.ctx, v.Actor()); err != nil {
		return err
	}
	return v.to("/login/set-up")
}

func doSetUp(v *visit) error {
	codes, err := v.pages.factors.ConfirmTOTP(v.ctx, v.Actor(), v.given("code"))
	if err != nil {
		return v.again(confirmForm(), err, showSetUp)
	}
	required := v.Actor().Stage == authsvc.StageSetUpFactor
	if err := v.FactorSetUp(websession.MethodTOTP); err != nil {
		return err
	}
	switch {
	case len(codes) > 0 && required:
		return v.showCodes(codes, "/login")
	case len(codes) > 0:
		return v.showCodes(codes, "/account?done=app")
	case required:
		return v.to("/login")
	}
	return v.to("/account?done=app")
}

// codesPage shows recovery codes, this once.
type codesPage struct {
	Codes []string
	Next  string
}

func (v *visit) showCodes(codes []string, next string) error {
	return v.show("codes", "Recovery codes", func() any { return codesPage{codes, v.base() + next} })
}
