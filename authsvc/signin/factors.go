package signin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// issuer is by what name authenticator apps and browsers list their entries.
const issuer = "Gatehouse"

// Factors checks and sets up second factors: authenticator apps, recovery codes and passkeys (WebAuthn level 3).
type Factors struct {
	store  *authsvc.Store
	sealer *authsvc.Sealer
	origin func(context.Context) string
}

var _ SecondFactor = (*Factors)(nil)

// NewFactors makes Factors. origin gives the address by which the request of a context came, such as https://gatehouse.example: a passkey is bound
// to its host. What a browser signs names the page it is on, so that a request by a wrong name is of no use to whoever sends it.
func NewFactors(store *authsvc.Store, sealer *authsvc.Sealer, origin func(context.Context) string) *Factors {
	return &Factors{store, sealer, origin}
}

// Verify tells by which method a proof is right; see SecondFactor.
func (f *Factors) Verify(ctx context.Context, actor *authsvc.Actor, userID uint32, proof Proof) (method string, err error) {
	if len(proof.Assertion) > 0 {
		if err := f.assert(ctx, userID, proof); err != nil {
			return "", err
		}
		return websession.MethodPasskey, nil
	}
	if _, is := mfa.HashRecoveryCode(proof.Code); is {
		ok, err := f.store.UseRecoveryCode(ctx, actor, userID, proof.Code)
		return websession.MethodRecovery, right(ok, err)
	}
	ok, err := f.store.UseTOTP(ctx, actor, f.sealer, userID, proof.Code)
	return websession.MethodTOTP, right(ok, err)
}

func right(ok bool, err error) error {
	if err == nil && !ok {
		return ErrWrongFactor
	}
	return err
}

// party is the WebAuthn library for the address of this request.
func (f *Factors) party(ctx context.Context) (*webauthn.WebAuthn, error) {
	origin := f.origin(ctx)
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" {
		return nil, event.Errorf(event.CodeInvalid, "passkeys need a browser that came by a name")
	}
	w, err := webauthn.New(&webauthn.Config{
		RPID: strings.ToLower(u.Hostname()), RPDisplayName: issuer, RPOrigins: []string{u.Scheme + "://" + u.Host},
		AttestationPreference: protocol.PreferNoAttestation,
	})
	if err != nil {
		return nil, event.Wrap(event.CodeInvalid, err, "passkeys do not work by this address: use a host name over HTTPS")
	}
	return w, nil
}

// owner is a person as the WebAuthn library wants them.
type owner struct {
	handle      []byte
	name, shown string
	credentials []webauthn.Credential
	stored      map[string]string // the credentials as they are stored, by id
}

// WebAuthnID is the random name by which authenticators know the person.
func (o *owner) WebAuthnID() []byte { return o.handle }

// WebAuthnName is the username.
func (o *owner) WebAuthnName() string { return o.name }

// WebAuthnDisplayName is what the person is called.
func (o *owner) WebAuthnDisplayName() string { return o.shown }

// WebAuthnCredentials are the passkeys.
func (o *owner) WebAuthnCredentials() []webauthn.Credential { return o.credentials }

func (f *Factors) owner(ctx context.Context, userID uint32) (*owner, error) {
	c, err := f.store.CredentialOfID(ctx, userID)
	if err != nil {
		return nil, err
	}
	o := &owner{name: c.Username, shown: c.DisplayName, stored: map[string]string{}}
	if o.shown == "" {
		o.shown = c.Username
	}
	if o.handle, err = f.store.PasskeyHandle(ctx, userID); err != nil {
		return nil, err
	}
	rows, err := f.store.Passkeys(ctx, userID)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		var p webauthn.Credential
		if err := json.Unmarshal([]byte(r.Credential), &p); err != nil {
			return nil, fmt.Errorf("BUG: passkey %d is not as it was stored: %w", r.ID, err)
		}
		o.credentials = append(o.credentials, p)
		o.stored[string(p.ID)] = r.Credential
	}
	return o, nil
}

// Challenge makes what the person's passkeys are to sign; see SecondFactor.
func (f *Factors) Challenge(ctx context.Context, userID uint32) (options json.RawMessage, state []byte, err error) {
	party, err := f.party(ctx)
	if err != nil {
		return nil, nil, err
	}
	o, err := f.owner(ctx, userID)
	if err != nil {
		return nil, nil, err
	}
	if len(o.credentials) == 0 {
		return nil, nil, event.Errorf(event.CodeConflict, "there is no passkey: use a code")
	}
	// The password was given before, so that to be there is enough; who asks for more is asked for it by the passkey itself.
	ask, session, err := party.BeginLogin(o, webauthn.WithUserVerification(protocol.VerificationPreferred))
	return ceremony(askLogin, ask, session, err)
}

// The kinds of questions to an authenticator. What was asked for one is no question of the other.
const (
	askLogin    = "login"
	askRegister = "register"
)

// asked is what the session keeps of a question until the answer comes.
type asked struct {
	Kind    string                `json:"kind"`
	Session *webauthn.SessionData `json:"session"`
}

// question gives what was kept of a question, if it was of that kind.
func question(kind string, state []byte) (webauthn.SessionData, bool) {
	var a asked
	if len(state) == 0 || json.Unmarshal(state, &a) != nil || a.Kind != kind || a.Session == nil {
		return webauthn.SessionData{}, false
	}
	return *a.Session, true
}

// ceremony writes both halves of a question to an authenticator.
func ceremony(kind string, ask any, session *webauthn.SessionData, err error) (options json.RawMessage, state []byte, _ error) {
	if err != nil {
		return nil, nil, event.Wrap(event.CodeInternal, err, "ask for a passkey")
	}
	if options, err = json.Marshal(ask); err == nil {
		state, err = json.Marshal(asked{kind, session})
	}
	if err != nil {
		return nil, nil, event.Wrap(event.CodeInternal, err, "ask for a passkey")
	}
	return options, state, nil
}

// assert checks what a passkey signed. Whatever is wrong with it is ErrWrongFactor.
func (f *Factors) assert(ctx context.Context, userID uint32, proof Proof) error {
	session, ok := question(askLogin, proof.Challenge)
	if !ok {
		return ErrWrongFactor
	}
	party, err := f.party(ctx)
	if err != nil {
		return err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(proof.Assertion)
	if err != nil {
		return ErrWrongFactor
	}
	o, err := f.owner(ctx, userID)
	if err != nil {
		return err
	}
	used, err := party.ValidateLogin(o, session, parsed)
	// A counter that went back is that of a copy of the authenticator: one of the two is not the person's.
	if err != nil || used.Authenticator.CloneWarning {
		return ErrWrongFactor
	}
	text, err := json.Marshal(used)
	if err != nil {
		return event.Wrap(event.CodeInternal, err, "use a passkey")
	}
	ok, err = f.store.UsePasskey(ctx, userID, used.ID, o.stored[string(used.ID)], string(text))
	return right(ok, err)
}

// BeginPasskey makes what the actor's browser needs to make a new passkey. What it gives as state is kept in the session until the answer comes.
func (f *Factors) BeginPasskey(ctx context.Context, actor *authsvc.Actor) (options json.RawMessage, state []byte, err error) {
	party, err := f.party(ctx)
	if err != nil {
		return nil, nil, err
	}
	o, err := f.owner(ctx, actor.ID)
	if err != nil {
		return nil, nil, err
	}
	exclude := make([]protocol.CredentialDescriptor, len(o.credentials))
	for i := range o.credentials {
		exclude[i] = o.credentials[i].Descriptor()
	}
	ask, session, err := party.BeginRegistration(o, webauthn.WithExclusions(exclude))
	return ceremony(askRegister, ask, session, err)
}

// FinishPasskey adds the passkey that the browser made. codes are recovery codes where it is the person's first second factor. An answer that does not
// fit is a field error.
func (f *Factors) FinishPasskey(ctx context.Context, actor *authsvc.Actor, name string, state []byte, attestation json.RawMessage) (codes []string, err error) {
	bad := event.FieldError("credential", "is not an answer to what was asked, or came too late: begin anew")
	session, ok := question(askRegister, state)
	if !ok {
		return nil, bad
	}
	party, err := f.party(ctx)
	if err != nil {
		return nil, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(attestation)
	if err != nil {
		return nil, bad
	}
	o, err := f.owner(ctx, actor.ID)
	if err != nil {
		return nil, err
	}
	made, err := party.CreateCredential(o, session, parsed)
	if err != nil {
		return nil, bad
	}
	text, err := json.Marshal(made)
	if err != nil {
		return nil, event.Wrap(event.CodeInternal, err, "add a passkey")
	}
	return f.store.AddPasskey(ctx, actor, name, made.ID, string(text))
}

// BeginTOTP makes a secret for the actor's authenticator app: the secret, the address that a QR code shows, and the code as a PNG.
func (f *Factors) BeginTOTP(ctx context.Context, actor *authsvc.Actor) (secret, address string, qr []byte, err error) {
	app, err := f.store.BeginTOTP(ctx, actor, f.sealer)
	if err != nil {
		return "", "", nil, err
	}
	return describeTOTP(app, actor.Name)
}

// PendingTOTP is what BeginTOTP gave, once more, until it is confirmed.
func (f *Factors) PendingTOTP(ctx context.Context, actor *authsvc.Actor) (secret, address string, qr []byte, err error) {
	app, err := f.store.PendingTOTP(ctx, actor, f.sealer)
	if err != nil {
		return "", "", nil, err
	}
	return describeTOTP(app, actor.Name)
}

func describeTOTP(app mfa.TOTP, name string) (secret, address string, qr []byte, err error) {
	if address, err = app.URL(issuer, name); err == nil {
		qr, err = app.QR(issuer, name)
	}
	if err != nil {
		return "", "", nil, event.Wrap(event.CodeInternal, err, "describe an authenticator app")
	}
	return app.Secret(), address, qr, nil
}

// ConfirmTOTP sets the app up with a code of it; see authsvc.Store.ConfirmTOTP.
func (f *Factors) ConfirmTOTP(ctx context.Context, actor *authsvc.Actor, code string) (codes []string, err error) {
	return f.store.ConfirmTOTP(ctx, actor, f.sealer, code)
}
