package authsvc

import (
	"context"
	"errors"
	"time"

	"gatehouse/authsvc/password"
	"gatehouse/event"
)

// Setting is one setting as it may be shown.
type Setting struct {
	Name    string
	Kind    SettingKind
	Value   string
	Default string
	Min     string // empty where the kind has no bounds
	Max     string
	Doc     string
	Changed time.Time // zero: it has its default
	By      string    // who changed it
}

const (
	selectSettings = `SELECT name, value, updated_at, updated_by FROM settings ORDER BY name`
	updateSetting  = `UPDATE settings SET value = ?, updated_at = ?, updated_by = ? WHERE name = ?`
	insertSetting  = `INSERT INTO settings (name, value, updated_at, updated_by) VALUES (?, ?, ?, ?)`
	deleteSetting  = `DELETE FROM settings WHERE name = ?`
)

// GetSettings reads all settings in one statement. It is for the program itself and asks nobody's permission.
func (s *Store) GetSettings(ctx context.Context) (Settings, error) { return s.readSettings(ctx, s.db) }

func (s *Store) readSettings(ctx context.Context, q querier) (Settings, error) {
	values := defaultSettings()
	rows, err := s.settings(ctx, q)
	if err != nil {
		return Settings{}, fail(err, "read the settings")
	}
	for i := range settingTable {
		if row, ok := rows[settingTable[i].name]; ok {
			// A value that a newer version allowed and this one does not: the default is safe, a server that stands still is not.
			if _, value, err := settingTable[i].parse(row.Value); err == nil {
				settingTable[i].store(&values, value)
			}
		}
	}
	return values, nil
}

// PasswordPolicy is what new passwords must be.
func (s *Settings) PasswordPolicy() password.Policy {
	return password.Policy{
		MinLength: s.PasswordMinLength, Mixed: s.PasswordRequireMixed, Digit: s.PasswordRequireDigit,
		Special: s.PasswordRequireSpecial, Guessable: s.PasswordCheckCommon,
	}
}

func (s *Store) settings(ctx context.Context, q querier) (list map[string]Setting, err error) {
	rows, err := q.Query(ctx, selectSettings)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	list = map[string]Setting{}
	for rows.Next() {
		var row Setting
		var changed int64
		if err := rows.Scan(&row.Name, &row.Value, &changed, &row.By); err != nil {
			return nil, err
		}
		row.Changed = time.UnixMilli(changed).UTC()
		list[row.Name] = row
	}
	return list, rows.Err()
}

// ListSettings tells all settings in the order of the table, with their values and what they mean.
func (s *Store) ListSettings(ctx context.Context, actor *Actor) ([]Setting, error) {
	if err := actor.Require(PermReadSettings, 0); err != nil {
		return nil, err
	}
	rows, err := s.settings(ctx, s.db)
	if err != nil {
		return nil, fail(err, "read the settings")
	}
	list := make([]Setting, len(settingTable))
	for i := range settingTable {
		list[i] = settingTable[i].show(rows)
	}
	return list, nil
}

// GetSetting tells one setting. A name that there is not is CodeNotFound, with one that comes near.
func (s *Store) GetSetting(ctx context.Context, actor *Actor, name string) (Setting, error) {
	def, err := settingFor(actor, PermReadSettings, name)
	if err != nil {
		return Setting{}, err
	}
	rows, err := s.settings(ctx, s.db)
	if err != nil {
		return Setting{}, fail(err, "read the setting")
	}
	return def.show(rows), nil
}

func (s *setting) show(rows map[string]Setting) Setting {
	shown := Setting{Name: s.name, Kind: s.kind, Default: s.canonical(), Min: s.min, Max: s.max, Doc: s.doc}
	shown.Value = shown.Default
	if row, ok := rows[s.name]; ok {
		shown.Value, shown.Changed, shown.By = row.Value, row.Changed, row.By
	}
	return shown
}

// canonical is the default as it would be stored.
func (s *setting) canonical() string {
	stored, _, err := s.parse(s.fallback)
	if err != nil {
		panic("BUG: default of a setting: " + err.Error())
	}
	return stored
}

// SetSetting changes a setting and gives it as it is then. A name that there is not is CodeNotFound, with one that
// comes near; a wrong value is a field error.
func (s *Store) SetSetting(ctx context.Context, actor *Actor, name, value string) (Setting, error) {
	def, err := settingFor(actor, PermChangeSettings, name)
	if err != nil {
		return Setting{}, err
	}
	stored, _, err := def.parse(value)
	if err != nil {
		return Setting{}, err
	}
	return s.changeSetting(ctx, actor, def, func(tx *auditedTx) error {
		n, err := tx.Exec(ctx, updateSetting, stored, millis(tx.now), clip(actor.Name, maxName), name)
		if err != nil || n > 0 {
			return err
		}
		_, err = tx.Exec(ctx, insertSetting, name, stored, millis(tx.now), clip(actor.Name, maxName))
		return err
	})
}

// ResetSetting gives a setting its default again.
func (s *Store) ResetSetting(ctx context.Context, actor *Actor, name string) (Setting, error) {
	def, err := settingFor(actor, PermChangeSettings, name)
	if err != nil {
		return Setting{}, err
	}
	return s.changeSetting(ctx, actor, def, func(tx *auditedTx) error {
		_, err := tx.Exec(ctx, deleteSetting, name)
		return err
	})
}

func settingFor(actor *Actor, p Permission, name string) (*setting, error) {
	if err := actor.Require(p, 0); err != nil {
		return nil, err
	}
	names := make([]string, len(settingTable))
	for i := range settingTable {
		if settingTable[i].name == name {
			return &settingTable[i], nil
		}
		names[i] = settingTable[i].name
	}
	return nil, &event.Error{Code: event.CodeNotFound, Field: "name", Message: "there is no setting of this name" + didYouMean(name, names)}
}

// settingRecord is a setting as the audit trail shows it.
type settingRecord struct {
	Value string `json:"value"`
}

func (s *Store) changeSetting(ctx context.Context, actor *Actor, def *setting, write func(*auditedTx) error) (Setting, error) {
	var after Setting
	err := s.changePeople(ctx, actor, func(tx *auditedTx) error {
		rows, err := s.settings(ctx, tx)
		if err != nil {
			return err
		}
		before := def.show(rows)
		if err := write(tx); err != nil {
			return err
		}
		if rows, err = s.settings(ctx, tx); err != nil {
			return err
		}
		if after = def.show(rows); after.Value == before.Value {
			return nil // nothing has changed, so nothing is recorded
		}
		return tx.record(ctx, Entry{
			Action: "setting.change", TargetKind: "setting", TargetID: def.name, TargetName: def.name,
			Before: settingRecord{before.Value}, After: settingRecord{after.Value},
		})
	})
	return after, fail(err, "change the setting")
}
