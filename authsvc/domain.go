package authsvc

import (
	"context"
	"errors"
	"time"

	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// Domain is one whose people may register by themselves.
type Domain struct {
	Name    string // lower case, international names as xn--
	Created time.Time
}

const (
	selectDomains = `SELECT domain, created_at FROM email_domains ORDER BY domain`
	insertDomain  = `INSERT INTO email_domains (domain, created_at) VALUES (?, ?)`
	deleteDomain  = `DELETE FROM email_domains WHERE domain = ?`
)

// maxDomains bounds the list, which is read whole for each registration.
const maxDomains = 1000

// ListDomains lists the domains whose people may register, by name. None: those of any domain may, where registration is on.
func (s *Store) ListDomains(ctx context.Context, actor *Actor) ([]Domain, error) {
	if err := actor.Require(PermReadSettings, 0); err != nil {
		return nil, err
	}
	list, err := s.domains(ctx, s.db)
	return list, fail(err, "list the domains")
}

func (s *Store) domains(ctx context.Context, q querier) (list []Domain, err error) {
	rows, err := q.Query(ctx, selectDomains)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d Domain
		var created int64
		if err := rows.Scan(&d.Name, &created); err != nil {
			return nil, err
		}
		d.Created = time.UnixMilli(created).UTC()
		list = append(list, d)
	}
	return list, rows.Err()
}

// AddDomain lets people of a domain register by themselves, and from the first one on nobody else. One that is there is CodeConflict.
func (s *Store) AddDomain(ctx context.Context, actor *Actor, domain string) (Domain, error) {
	if err := actor.Require(PermChangeSettings, 0); err != nil {
		return Domain{}, err
	}
	name, err := cleanDomain(domain)
	if err != nil {
		return Domain{}, err
	}
	var d Domain
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error {
		all, err := s.domains(ctx, tx)
		if err != nil {
			return err
		}
		if len(all) >= maxDomains {
			return event.Errorf(event.CodeConflict, "there are %d domains, which is the most: remove one first", len(all))
		}
		_, err = tx.Exec(ctx, insertDomain, name, millis(tx.now))
		if reldb.IsUnique(err) {
			return &event.Error{Code: event.CodeConflict, Field: "domain", Message: name + " is allowed already"}
		}
		if err != nil {
			return err
		}
		d = Domain{Name: name, Created: time.UnixMilli(millis(tx.now)).UTC()}
		return tx.record(ctx, Entry{Action: "domain.add", TargetKind: "domain", TargetName: name})
	})
	return d, fail(err, "add the domain")
}

// RemoveDomain takes a domain out of the list. One that is not there is CodeNotFound.
func (s *Store) RemoveDomain(ctx context.Context, actor *Actor, domain string) error {
	if err := actor.Require(PermChangeSettings, 0); err != nil {
		return err
	}
	name, err := cleanDomain(domain)
	if err != nil {
		return err
	}
	return fail(s.changePeople(ctx, actor, func(tx *auditedTx) error {
		n, err := tx.Exec(ctx, deleteDomain, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return event.Errorf(event.CodeNotFound, "%s is not in the list of domains", name)
		}
		return tx.record(ctx, Entry{Action: "domain.remove", TargetKind: "domain", TargetName: name})
	}), "remove the domain")
}
