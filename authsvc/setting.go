package authsvc

import (
	"log/slog"
	"strconv"
	"strings"
	"time"

	"gatehouse/event"
)

// Settings are what a GlobalAdmin may change while the server runs. What a server needs to start stands in config.ini instead.
type Settings struct {
	PasswordMinLength      int
	PasswordRequireMixed   bool
	PasswordRequireDigit   bool
	PasswordRequireSpecial bool
	PasswordCheckCommon    bool
	TemporaryPasswordDays  int

	MFARequired bool

	RegistrationEnabled bool

	SessionIdle     time.Duration // 0: as config.ini says
	SessionAbsolute time.Duration // 0: as config.ini says
	TokenMaxDays    int

	LockoutFailures int
	LockoutLongest  time.Duration

	AuditRetentionDays int // 0: for ever

	ErrorLogLevel         slog.Level
	ErrorLogRetentionDays int
	ErrorLogFilters       map[string]slog.Level // logger → level in place of ErrorLogLevel
}

// SettingKind is what values a setting takes.
type SettingKind string

// The kinds.
const (
	SettingSwitch   SettingKind = "switch"   // true or false
	SettingNumber   SettingKind = "number"   // whole, between Min and Max
	SettingDuration SettingKind = "duration" // such as 30m or 12h, between Min and Max
	SettingLevel    SettingKind = "level"    // of the log
	SettingLevels   SettingKind = "levels"   // name=level, …
)

// How a switch is stored.
const (
	settingTrue  = "true"
	settingFalse = "false"
)

// settingMFARequired is asked for with every request, in the same statement as the person.
const settingMFARequired = "mfa_required"

// maxSetting is the column's length.
const maxSetting = 2000

// setting is one line of the table.
type setting struct {
	name     string
	kind     SettingKind
	fallback string
	min, max string // as in values, empty where the kind has none
	doc      string
	store    func(*Settings, any)
}

const maxDays = "36500"

// settingTable is all settings. A row of the database that is not here, which another version may have left, changes nothing.
var settingTable = []setting{
	{"password_min_length", SettingNumber, "12", "8", "128", "characters that a new password needs at least", func(s *Settings, v any) { s.PasswordMinLength = v.(int) }},
	{"password_require_mixed", SettingSwitch, settingFalse, "", "", "a new password needs small and capital letters", func(s *Settings, v any) { s.PasswordRequireMixed = v.(bool) }},
	{"password_require_digit", SettingSwitch, settingFalse, "", "", "a new password needs a digit", func(s *Settings, v any) { s.PasswordRequireDigit = v.(bool) }},
	{"password_require_special", SettingSwitch, settingFalse, "", "", "a new password needs a special character", func(s *Settings, v any) { s.PasswordRequireSpecial = v.(bool) }},
	{"password_check_common", SettingSwitch, settingTrue, "", "", "refuse new passwords that are common or easily guessed", func(s *Settings, v any) { s.PasswordCheckCommon = v.(bool) }},
	{"temporary_password_days", SettingNumber, "7", "1", "90", "days after which a password made by an administrator no longer signs in", func(s *Settings, v any) { s.TemporaryPasswordDays = v.(int) }},
	{settingMFARequired, SettingSwitch, settingFalse, "", "", "everybody needs a second factor, except those who are exempted", func(s *Settings, v any) { s.MFARequired = v.(bool) }},
	{"registration_enabled", SettingSwitch, settingFalse, "", "", "people may register by themselves and wait for approval; see also the allowed e-mail domains", func(s *Settings, v any) { s.RegistrationEnabled = v.(bool) }},
	{"session_idle", SettingDuration, "0s", "1m", "720h", "a session ends after this time without a request; 0s: as in config.ini", func(s *Settings, v any) { s.SessionIdle = v.(time.Duration) }},
	{"session_absolute", SettingDuration, "0s", "5m", "2160h", "a session ends after this time; 0s: as in config.ini", func(s *Settings, v any) { s.SessionAbsolute = v.(time.Duration) }},
	{"token_max_days", SettingNumber, "365", "1", "3650", "days that a personal access token may be valid", func(s *Settings, v any) { s.TokenMaxDays = v.(int) }},
	{"lockout_failures", SettingNumber, "5", "3", "100", "wrong passwords after which an account's next try has to wait", func(s *Settings, v any) { s.LockoutFailures = v.(int) }},
	{"lockout_longest", SettingDuration, "15m", "1m", "1h", "longest wait after wrong passwords", func(s *Settings, v any) { s.LockoutLongest = v.(time.Duration) }},
	{"audit_retention_days", SettingNumber, "0", strconv.Itoa(minRetentionDays), maxDays, "days after which entries of the audit trail are removed; 0: never", func(s *Settings, v any) { s.AuditRetentionDays = v.(int) }},
	{"error_log_level", SettingLevel, "WARN", "", "", "what goes into the error log: DEBUG, INFO, WARN, ERROR and above", func(s *Settings, v any) { s.ErrorLogLevel = v.(slog.Level) }},
	{"error_log_retention_days", SettingNumber, "30", "1", maxDays, "days after which entries of the error log are removed", func(s *Settings, v any) { s.ErrorLogRetentionDays = v.(int) }},
	{"error_log_filters", SettingLevels, "", "", "", "other levels for single loggers, such as ingest=ERROR, engine=INFO", func(s *Settings, v any) { s.ErrorLogFilters = v.(map[string]slog.Level) }},
}

// parse checks a value, gives it as it is stored, and as it stands in Settings.
func (s *setting) parse(text string) (stored string, value any, err error) {
	text = strings.TrimSpace(text)
	if len(text) > maxSetting {
		return "", nil, event.FieldError(s.name, "is longer than %d characters", maxSetting)
	}
	switch s.kind {
	case SettingSwitch:
		switch strings.ToLower(text) {
		case settingTrue, "on", "yes", "1":
			return settingTrue, true, nil
		case settingFalse, "off", "no", "0":
			return settingFalse, false, nil
		}
		return "", nil, event.FieldError(s.name, "must be true or false")
	case SettingNumber:
		n, err := strconv.Atoi(text)
		least, most := mustNumber(s.min), mustNumber(s.max)
		// A default below the least is a word of its own, such as 0 for "never".
		if err != nil || n < least && strconv.Itoa(n) != s.fallback || n > most {
			return "", nil, event.FieldError(s.name, "must be a whole number from %d to %d%s", least, most, s.orFallback(least))
		}
		return strconv.Itoa(n), n, nil
	case SettingDuration:
		d, err := time.ParseDuration(text)
		least, most := mustDuration(s.min), mustDuration(s.max)
		if err != nil || d < least && d != mustDuration(s.fallback) || d > most || d%time.Second != 0 {
			return "", nil, event.FieldError(s.name, "must be whole seconds from %s to %s, such as 30m or 12h%s", s.min, s.max, s.orFallback(0))
		}
		return d.String(), d, nil
	case SettingLevel:
		level, err := parseLevel(text)
		if err != nil {
			return "", nil, event.FieldError(s.name, "must be DEBUG, INFO, WARN or ERROR")
		}
		return level.String(), level, nil
	case SettingLevels:
		return s.parseLevels(text)
	}
	panic("BUG: setting " + s.name + " is of no kind")
}

func (s *setting) orFallback(least int) string {
	switch {
	case s.kind == SettingNumber && mustNumber(s.fallback) < least, s.kind == SettingDuration && mustDuration(s.fallback) < mustDuration(s.min):
		return ", or " + s.fallback
	}
	return ""
}

// parseLevel reads a level by name, without regard to case; WARNING is what older settings call WARN.
func parseLevel(text string) (slog.Level, error) {
	if strings.EqualFold(text, "warning") {
		return slog.LevelWarn, nil
	}
	var level slog.Level
	err := level.UnmarshalText([]byte(text))
	return level, err
}

func (s *setting) parseLevels(text string) (stored string, value any, err error) {
	levels := map[string]slog.Level{}
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, word, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		level, err := parseLevel(strings.TrimSpace(word))
		if !ok || err != nil || name == "" || clip(name, 100) != name {
			return "", nil, event.FieldError(s.name, "%q must be a logger and its level, such as ingest=ERROR", clip(strings.TrimSpace(part), 100))
		}
		if _, twice := levels[name]; twice {
			return "", nil, event.FieldError(s.name, "names %q twice", name)
		}
		levels[name] = level
		parts = append(parts, name+"="+level.String())
	}
	return strings.Join(parts, ", "), levels, nil
}

func mustNumber(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic("BUG: bound of a setting: " + err.Error())
	}
	return n
}

func mustDuration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic("BUG: bound of a setting: " + err.Error())
	}
	return d
}

// defaultSettings are those of an empty table.
func defaultSettings() Settings {
	var s Settings
	for i := range settingTable {
		_, value, err := settingTable[i].parse(settingTable[i].fallback)
		if err != nil {
			panic("BUG: default of a setting: " + err.Error())
		}
		settingTable[i].store(&s, value)
	}
	return s
}
