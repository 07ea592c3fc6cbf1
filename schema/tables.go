package schema

// Table is one table of the relational database, as far as whoever goes through all of them must know it.
type Table struct {
	Name     string
	Key      []string // the primary key's columns, in its order
	Identity bool     // the database counts up its `id`
	Seeded   bool     // the migrations put rows into it
}

// Tables lists all tables of the latest version but the history of the migrations, each after those that its rows name. A test holds it
// against the databases.
func Tables() []Table {
	id := []string{"id"}
	return []Table{
		{Name: "companies", Key: id, Identity: true},
		{Name: "api_keys", Key: id, Identity: true},
		{Name: "revisions", Key: []string{"topic"}, Seeded: true},
		{Name: "users", Key: id, Identity: true},
		{Name: "memberships", Key: []string{"user_id", "company_id"}},
		{Name: "recovery_codes", Key: id, Identity: true},
		{Name: "webauthn_credentials", Key: id, Identity: true},
		{Name: "user_identities", Key: id, Identity: true},
		{Name: "web_sessions", Key: []string{"id_hash"}},
		{Name: "refresh_tokens", Key: id, Identity: true},
		{Name: "personal_tokens", Key: id, Identity: true},
		{Name: "lockouts", Key: []string{"subject"}},
		{Name: "settings", Key: []string{"name"}},
		{Name: "email_domains", Key: []string{"domain"}},
		{Name: "key_days", Key: []string{"key_id", "day"}},
		{Name: "audit_log", Key: []string{"seq"}},
		{Name: "audit_head", Key: id, Seeded: true},
		{Name: "error_log", Key: id, Identity: true},
	}
}
