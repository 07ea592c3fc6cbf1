package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are part of a company's settings: they must not depend on what the machine has installed

	"gatehouse/event"
	"gatehouse/internal/nearest"
	"gatehouse/internal/reldb"
)

// Limits of how long a session without an end may stay open. Below a minute every pause would end one; above a month
// every report would have to look back over more than a month of events.
const (
	MinMaxSession     = time.Minute
	MaxMaxSession     = 31 * 24 * time.Hour
	DefaultMaxSession = 24 * time.Hour
	DefaultTimezone   = "UTC"
)

// Company is a tenant.
type Company struct {
	ID         uint32
	Name       string
	Timezone   string         // IANA name
	Location   *time.Location // of Timezone
	MaxSession time.Duration  // after this, a session without an end counts as ended
	Created    time.Time
	Disabled   time.Time // zero: it is active
}

// CompanySettings are what an operator chooses. A zero field means the default when a company is created, and "leave it"
// when it is changed.
type CompanySettings struct {
	Name       string
	Timezone   string
	MaxSession time.Duration
}

func (c *CompanySettings) check() (key string, err error) {
	if c.Name != "" {
		if c.Name, key, err = cleanName("name", c.Name); err != nil {
			return "", err
		}
		if err := notAnID("name", key); err != nil {
			return "", err
		}
	}
	if c.Timezone != "" {
		if _, err := loadLocation(c.Timezone); err != nil {
			return "", err
		}
	}
	if c.MaxSession != 0 && (c.MaxSession < MinMaxSession || c.MaxSession > MaxMaxSession || c.MaxSession%time.Second != 0) {
		return "", event.FieldError("max_session", "must be whole seconds between %s and %s", MinMaxSession, MaxMaxSession)
	}
	return key, nil
}

func loadLocation(zone string) (*time.Location, error) {
	// "Local" would mean something else on each machine, and the empty name is UTC by accident.
	if zone == "" || strings.EqualFold(zone, "local") || len(zone) > 64 {
		return nil, event.FieldError("timezone", "must be an IANA zone such as Europe/London or UTC")
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, event.FieldError("timezone", "%q is not an IANA zone; write for instance Europe/London, America/New_York or UTC", zone)
	}
	return loc, nil
}

const (
	insertCompany = `INSERT INTO companies (name, name_key, timezone, max_session, created_at, revision) VALUES (?, ?, ?, ?, ?, ?)`
	updateCompany = `UPDATE companies SET name = ?, name_key = ?, timezone = ?, max_session = ?, revision = ? WHERE id = ?`
	// COALESCE keeps the first time: disabling twice must not look like one that happened today.
	disableCompany = `UPDATE companies SET disabled_at = COALESCE(disabled_at, ?), revision = ? WHERE id = ?`
	enableCompany  = `UPDATE companies SET disabled_at = NULL, revision = ? WHERE id = ?`
	selectCompany  = `SELECT id, name, timezone, max_session, created_at, disabled_at FROM companies`
)

// CreateCompany adds a company. A name that is taken, with whatever case, is CodeConflict.
func (s *Store) CreateCompany(ctx context.Context, actor *Actor, settings CompanySettings) (Company, error) {
	if err := actor.Require(PermCreateCompany, 0); err != nil {
		return Company{}, err
	}
	var c Company
	err := s.change(ctx, actor, func(tx changeTx) (err error) {
		c, err = s.createCompany(ctx, tx, settings)
		return err
	})
	return c, fail(err, "create company")
}

func (s *Store) createCompany(ctx context.Context, tx changeTx, settings CompanySettings) (Company, error) {
	if settings.Name == "" {
		return Company{}, event.FieldError("name", "must not be empty")
	}
	if settings.Timezone == "" {
		settings.Timezone = DefaultTimezone
	}
	if settings.MaxSession == 0 {
		settings.MaxSession = DefaultMaxSession
	}
	key, err := settings.check()
	if err != nil {
		return Company{}, err
	}
	created := s.now()
	id, err := tx.Insert(ctx, insertCompany, settings.Name, key, settings.Timezone, int64(settings.MaxSession/time.Second), millis(created), tx.revision)
	if reldb.IsUnique(err) {
		return Company{}, nameTaken(settings.Name)
	}
	if err != nil {
		return Company{}, err
	}
	c, err := s.company(ctx, tx, uint32(id)) //nolint:gosec // ids are INTEGER columns that count up from 1
	if err != nil {
		return Company{}, err
	}
	return c, tx.record(ctx, c.entry("company.create", nil))
}

// companyRecord is a company as the audit trail shows it.
type companyRecord struct {
	Name       string `json:"name"`
	Timezone   string `json:"timezone"`
	MaxSession string `json:"max_session"`
	Disabled   bool   `json:"disabled"`
}

func (c *Company) record() *companyRecord {
	return &companyRecord{Name: c.Name, Timezone: c.Timezone, MaxSession: c.MaxSession.String(), Disabled: !c.Disabled.IsZero()}
}

// entry is what the audit trail says of an act that left the company as it is.
func (c *Company) entry(action string, before *Company) Entry {
	e := Entry{Action: action, Company: c.ID, TargetKind: "company", TargetID: strconv.FormatUint(uint64(c.ID), 10), TargetName: c.Name, After: c.record()}
	if before != nil {
		e.Before = before.record()
	}
	return e
}

func nameTaken(name string) error {
	return &event.Error{Code: event.CodeConflict, Field: "name", Message: fmt.Sprintf("a company named %q exists already", name)}
}

// UpdateCompany changes the settings of a company that are not zero.
func (s *Store) UpdateCompany(ctx context.Context, actor *Actor, companyID uint32, settings CompanySettings) (Company, error) {
	if err := actor.Require(PermChangeCompany, companyID); err != nil {
		return Company{}, err
	}
	key, err := settings.check()
	if err != nil {
		return Company{}, err
	}
	var c Company
	err = s.change(ctx, actor, func(tx changeTx) error {
		old, err := s.company(ctx, tx, companyID)
		if err != nil {
			return err
		}
		if settings.Name == "" {
			settings.Name, key = old.Name, nameKey(old.Name)
		}
		if settings.Timezone == "" {
			settings.Timezone = old.Timezone
		}
		if settings.MaxSession == 0 {
			settings.MaxSession = old.MaxSession
		}
		_, err = tx.Exec(ctx, updateCompany, settings.Name, key, settings.Timezone, int64(settings.MaxSession/time.Second), tx.revision, companyID)
		if reldb.IsUnique(err) {
			return nameTaken(settings.Name)
		}
		if err != nil {
			return err
		}
		if c, err = s.company(ctx, tx, companyID); err != nil {
			return err
		}
		return tx.record(ctx, c.entry("company.change", &old))
	})
	return c, fail(err, "update company")
}

// SetCompanyDisabled stops all keys of a company, or lets them work again. Its events stay.
func (s *Store) SetCompanyDisabled(ctx context.Context, actor *Actor, companyID uint32, disabled bool) error {
	if err := actor.Require(PermChangeCompany, companyID); err != nil {
		return err
	}
	return fail(s.change(ctx, actor, func(tx changeTx) error {
		old, err := s.company(ctx, tx, companyID)
		if err != nil {
			return err
		}
		action := "company.enable"
		if disabled {
			action = "company.disable"
			_, err = tx.Exec(ctx, disableCompany, millis(s.now()), tx.revision, companyID)
		} else {
			_, err = tx.Exec(ctx, enableCompany, tx.revision, companyID)
		}
		if err != nil {
			return err
		}
		c, err := s.company(ctx, tx, companyID)
		if err != nil {
			return err
		}
		return tx.record(ctx, c.entry(action, &old))
	}), "disable company")
}

func noCompany(companyID uint32) *event.Error {
	return event.Errorf(event.CodeNotFound, "there is no company with id %d", companyID)
}

// Companies lists all companies by id, as only operators and the program itself may; people ask ListCompanies.
func (s *Store) Companies(ctx context.Context) ([]Company, error) {
	list, err := s.companies(ctx)
	return list, fail(err, "list companies")
}

func (s *Store) companies(ctx context.Context) ([]Company, error) {
	return s.queryCompanies(ctx, selectCompany+` ORDER BY id`)
}

func (s *Store) queryCompanies(ctx context.Context, query string, args ...any) (list []Company, err error) {
	rows, err := s.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		c, err := scanCompany(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// Company reads one company by id, for the program itself; people ask GetCompany.
func (s *Store) Company(ctx context.Context, companyID uint32) (Company, error) {
	c, err := s.company(ctx, s.db, companyID)
	return c, fail(err, "read company")
}

type rowQuerier interface {
	QueryRow(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *Store) company(ctx context.Context, q rowQuerier, companyID uint32) (Company, error) {
	if companyID > maxID { // of a request's body
		return Company{}, noCompany(companyID)
	}
	c, err := scanCompany(q.QueryRow(ctx, selectCompany+` WHERE id = ?`, companyID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Company{}, noCompany(companyID)
	}
	return c, err
}

// companyNamed reads a company by id where the text is digits alone, also where a company from before that was so has it as its name; else by name
// without regard to case. There being none is sql.ErrNoRows.
func (s *Store) companyNamed(ctx context.Context, nameOrID string) (Company, error) {
	key := nameKey(withoutNUL(nameOrID))
	if id, ok := idOf(key); ok {
		return scanCompany(s.db.QueryRow(ctx, selectCompany+` WHERE id = ?`, id).Scan)
	}
	return scanCompany(s.db.QueryRow(ctx, selectCompany+` WHERE name_key = ?`, key).Scan)
}

// FindCompany finds a company as an operator names it: by id, which is digits alone, or by name without regard to case. When there is none, the
// error lists names that come near: it is for operators, who may know all tenants, and must not reach a tenant.
func (s *Store) FindCompany(ctx context.Context, nameOrID string) (Company, error) {
	c, err := s.companyNamed(ctx, nameOrID)
	if !errors.Is(err, sql.ErrNoRows) {
		return c, fail(err, "find company")
	}
	all, err := s.companies(ctx)
	if err != nil {
		return Company{}, fail(err, "find company")
	}
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	message := fmt.Sprintf("there is no company %q", nameOrID)
	if near := nearest.Names(nameOrID, names, 3); len(near) > 0 {
		message += "; did you mean " + quoteList(near) + "?"
	} else {
		message += "; `gatehouse company list` shows all"
	}
	return Company{}, &event.Error{Code: event.CodeNotFound, Field: "company", Message: message}
}

func quoteList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return strings.Join(quoted, " or ")
}

func scanCompany(scan func(...any) error) (Company, error) {
	var c Company
	var maxSession, created int64
	var disabled *int64
	if err := scan(&c.ID, &c.Name, &c.Timezone, &maxSession, &created, &disabled); err != nil {
		return Company{}, err
	}
	c.MaxSession = time.Duration(maxSession) * time.Second
	c.Created = time.UnixMilli(created).UTC()
	c.Disabled = optionalTime(disabled)
	loc, err := time.LoadLocation(c.Timezone)
	if err != nil {
		// The zone was checked when it was written; a newer zone list may have known it. Reports in UTC beat none.
		loc = time.UTC
	}
	c.Location = loc
	return c, nil
}
