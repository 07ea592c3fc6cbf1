//go:build linux || darwin

package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// killInterval is how often a cancelled statement is killed again, until its
// call returns: a statement may not be in the engine's list yet at the first.
const killInterval = 50 * time.Millisecond

// tagSetting carries the query id: the engine chooses its own ids, and this
// setting, a label with no other effect while the query cache is off, is how a
// running statement is found by ours.
const tagSetting = "query_cache_tag"

// database is the open engine: it hands out sessions and cancels statements.
type database struct {
	lib     *library
	path    string
	filters bool // row filters are in force
	slots   chan struct{}
	log     *slog.Logger

	control sync.Mutex // one statement at a time on root
	root    *connection
	version string

	mu       sync.Mutex
	running  map[string]bool // query ids
	sessions map[string]*namedSession
}

// openDatabase boots the engine on path. root stays open for the life of the
// process: closing the last connection would shut the engine down.
func openDatabase(lib *library, path, configFile string, filters bool, slots int, log *slog.Logger) (*database, error) {
	root, err := lib.open("--path="+path, "--config-file="+configFile)
	if err != nil {
		return nil, err
	}
	d := &database{
		lib: lib, path: path, filters: filters, slots: make(chan struct{}, slots), log: log, root: root,
		running: map[string]bool{}, sessions: map[string]*namedSession{},
	}
	b, _, err := root.query("SELECT version()", "TabSeparatedRaw", nil)
	if err != nil {
		root.close()
		return nil, err
	}
	d.version = strings.TrimSpace(string(b))
	return d, nil
}

// acquire waits for a place to run in. The wait ends with the client's patience.
func (d *database) acquire(ctx context.Context) error {
	select {
	case d.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return raise(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", "No place became free among %d", cap(d.slots))
	}
}

func (d *database) release() { <-d.slots }

// register claims a query id for as long as its statement runs.
func (d *database) register(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[id] {
		return raise(codeSameQueryID, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", "Query with id = %s is already running", id)
	}
	d.running[id] = true
	return nil
}

func (d *database) unregister(id string) {
	d.mu.Lock()
	delete(d.running, id)
	d.mu.Unlock()
}

// open makes the session of one request.
func (d *database) open(req *request) (*connection, error) {
	args := []string{"--path=" + d.path, "--" + tagSetting + "=" + req.queryID}
	if req.company != "" {
		return d.openCompany(req, args)
	}
	if d.filters {
		args = append(args, "--log_comment=*")
	}
	c, err := d.lib.open(args...)
	if err != nil {
		return nil, err
	}
	if err := prepare(c, req); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// openCompany makes a session that reads one company's rows and writes nothing.
// Its settings come with the connection, for readonly=1 refuses SET.
func (d *database) openCompany(req *request, args []string) (*connection, error) {
	if !d.filters {
		return nil, raise(codeAccessDenied, "ACCESS_DENIED", "Row filters are off, so %s cannot be honoured", CompanyHeader)
	}
	for _, s := range req.settings {
		if !allowedForCompany(s.name) {
			return nil, raise(codeReadonly, "READONLY", "Cannot modify '%s' setting in readonly mode", s.name)
		}
		args = append(args, "--"+s.name+"="+s.value)
	}
	args = append(args, "--log_comment="+req.company, "--readonly=1")
	c, err := d.lib.open(args...)
	if err != nil {
		return nil, raise(codeBadArguments, "BAD_ARGUMENTS", "A setting has a value that the engine refuses")
	}
	if req.database != "" && req.database != "default" {
		if err := useDatabase(c, req.database); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// prepare gives a fresh session the request's database, settings and external tables.
func prepare(c *connection, req *request) error {
	if req.database != "" && req.database != "default" {
		if err := useDatabase(c, req.database); err != nil {
			return err
		}
	}
	if err := applySettings(c, req.settings); err != nil {
		return err
	}
	for _, t := range req.external {
		q := fmt.Sprintf("CREATE TEMPORARY TABLE %s (%s) ENGINE = Memory", quoteName(t.name), t.structure)
		if _, _, err := c.query(q, "Null", nil); err != nil {
			return err
		}
		in, err := c.streamInsert("INSERT INTO "+quoteName(t.name), t.format, nil)
		if err != nil {
			return err
		}
		err = in.append(t.data)
		if err == nil {
			_, err = in.commit()
		}
		in.destroy()
		if err != nil {
			return err
		}
	}
	return nil
}

func useDatabase(c *connection, name string) error {
	_, _, err := c.query("USE "+quoteName(name), "Null", nil)
	return err
}

func applySettings(c *connection, settings []param) error {
	if len(settings) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("SET ")
	for i, s := range settings {
		if !isSettingName(s.name) {
			return raise(codeUnknownSetting, "UNKNOWN_SETTING", "Unknown setting '%s'", s.name)
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(s.name)
		b.WriteString(" = ")
		b.WriteString(quoteString(s.value))
	}
	_, _, err := c.query(b.String(), "Null", nil)
	return err
}

// kill cancels the statements of a query id. It returns when done is closed or
// the engine no longer lists any.
func (d *database) kill(id string, done <-chan struct{}) {
	q := "KILL QUERY WHERE Settings['" + tagSetting + "'] = " + quoteString(id) + " ASYNC"
	for {
		d.control.Lock()
		_, _, err := d.root.query(q, "Null", nil)
		d.control.Unlock()
		if err != nil {
			d.log.Warn("cancel failed", slog.String("query_id", id), slog.Any("error", err))
		}
		select {
		case <-done:
			return
		case <-time.After(killInterval):
		}
	}
}

func (d *database) close() {
	d.closeSessions()
	d.root.close()
	d.lib.shutdown()
}

func isSettingName(s string) bool {
	if s == "" {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isIdentifier(part) {
			return false
		}
	}
	return true
}

func allowedForCompany(name string) bool {
	for _, s := range companySettings {
		if s == name {
			return true
		}
	}
	return false
}
