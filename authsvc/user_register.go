package authsvc

import (
	"context"
	"slices"
	"strings"

	"gatehouse/event"
)

// Registration is what a person says who registers by themselves.
type Registration struct {
	Username    string
	Email       string
	DisplayName string
	Password    string
}

const countWaiting = `SELECT COUNT(*) FROM users WHERE approved_at IS NULL AND disabled_at IS NULL`

// maxWaiting bounds the accounts that nobody has looked at yet: whoever floods a server with registrations fills no database.
const maxWaiting = 1000

// RegisterUser makes an account that waits for approval, where the settings allow it: else CodeForbidden. It answers in the same way, and
// after as much work, whether the username or e-mail is free or another account's, so that nobody learns who has an account. What is
// wrong with the fields themselves is told.
func (s *Store) RegisterUser(ctx context.Context, actor *Actor, r Registration) error {
	settings, err := s.GetSettings(ctx)
	if err != nil {
		return err
	}
	if !settings.RegistrationEnabled {
		return event.Errorf(event.CodeForbidden, "registration is closed: ask an administrator for an account")
	}
	person, err := (&NewUser{Username: r.Username, Email: r.Email, DisplayName: r.DisplayName}).clean()
	if err != nil {
		return err
	}
	if err := s.allowedDomain(ctx, person.emailKey); err != nil {
		return err
	}
	if err := settings.PasswordPolicy().Check(r.Password, person.username, person.email, person.display); err != nil {
		return err
	}
	if person.hash, err = s.passwords.Hash(ctx, r.Password); err != nil {
		return err
	}
	person.waiting = true
	return fail(s.update(ctx, actor, func(tx *auditedTx) error {
		var waiting int
		if err := tx.QueryRow(ctx, countWaiting).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= maxWaiting {
			return event.Errorf(event.CodeUnavailable, "too many registrations wait for approval: try again another day, or ask an administrator")
		}
		_, err := s.createPerson(ctx, tx, "user.register", &person, nil)
		if event.ErrorCode(err) != event.CodeConflict {
			return err
		}
		return tx.record(ctx, Entry{
			Action: "user.register", Outcome: Failed, TargetKind: "user", TargetName: person.username,
			Detail: "the username or e-mail is another account's",
		})
	}), "register")
}

// allowedDomain checks the e-mail's domain against the list, which lets all through while it is empty.
func (s *Store) allowedDomain(ctx context.Context, emailKey string) error {
	list, err := s.domains(ctx, s.db)
	if err != nil {
		return fail(err, "register")
	}
	if len(list) == 0 {
		return nil
	}
	domain, err := cleanDomain(emailKey[strings.LastIndexByte(emailKey, '@')+1:])
	if err != nil || !slices.ContainsFunc(list, func(d Domain) bool { return d.Name == domain }) {
		return event.FieldError("email", "must be of an organisation that may register here: ask an administrator for an account")
	}
	return nil
}
