package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"gatehouse/engine"
	"gatehouse/spool"
)

// serveFile is how programs on this machine find the server of a data directory: serve.json is
// that of "gatehouse serve"; command.json, without a URL, that of a server which a command has
// started for itself and which ends with it.
type serveFile struct {
	URL     string    `json:"url,omitempty"`
	Control string    `json:"control"` // the unix socket for trusted local programs
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	CA      string    `json:"ca,omitempty"` // the certificate to trust, where it is self-signed
	Started time.Time `json:"started"`
}

const (
	fileServe   = "serve.json"
	fileCommand = "command.json"
)

func readServeFile(dataDir, name string) (f serveFile, err error) {
	raw, err := os.ReadFile(filepath.Join(dataDir, name))
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(raw, &f)
}

// writeServeFile tells where s is. The file is whole or not there.
func (s *server) writeServeFile(name string) error {
	f := serveFile{URL: s.url, Control: s.controlAt, PID: os.Getpid(), Version: buildVersion().Version, Started: time.Now().UTC().Truncate(time.Second)}
	if s.cert != nil {
		f.CA = s.cert.CertFile()
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(s.dataDir, name)
	if err := os.WriteFile(path+".new", append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}

// removeServeFiles is called by whoever has the data directory: also for what a crash has left.
func (s *server) removeServeFiles() {
	for _, name := range []string{fileServe, fileCommand} {
		if err := os.Remove(filepath.Join(s.dataDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("a file that tells where the server is stays behind", slog.String("file", name), slog.Any("error", err))
		}
	}
}

// running is a server that answers on its control socket.
type running struct {
	serveFile

	transport *http.Transport
	ofCommand bool // it ends when that command does
}

// findRunning is the server that has a data directory, nil when none answers: after a crash
// its file stays behind.
func findRunning(ctx context.Context, dataDir string) *running {
	for _, name := range []string{fileServe, fileCommand} {
		f, err := readServeFile(dataDir, name)
		if err != nil || f.Control == "" {
			continue
		}
		r := &running{serveFile: f, transport: controlTransport(f.Control), ofCommand: name == fileCommand}
		if r.alive(ctx) {
			return r
		}
	}
	return nil
}

// aliveTimeout is for a server that is there and busy; one that is not there is known at once.
const aliveTimeout = 10 * time.Second

func (r *running) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	body, err := r.local().Get(ctx, "/api/openapi.json", nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, body)
	return errors.Join(err, body.Close()) == nil
}

// local asks r alone, whatever becomes of it.
func (r *running) local() *local { return &local{http: &http.Client{Transport: r.transport}} }

// who names the process for messages.
func (r *running) who() string {
	if r.URL != "" {
		return fmt.Sprintf("process %d, %s", r.PID, r.URL)
	}
	return fmt.Sprintf("process %d", r.PID)
}

func controlClient(socket string) *http.Client {
	return &http.Client{Transport: controlTransport(socket)}
}

func controlTransport(socket string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 8,
	}
}

// runningURL is where the server of a data directory listens.
func runningURL(ctx context.Context, dataDir string) (string, error) {
	r := findRunning(ctx, dataDir)
	if r == nil || r.URL == "" {
		return "", fmt.Errorf("no server runs in %s: start it with \"gatehouse serve\", or give --url or --out", dataDir)
	}
	return r.URL, nil
}

// busyError says that another process has the data directory open.
type busyError struct {
	dir, who string
	cause    error
}

func (e *busyError) Error() string {
	return fmt.Sprintf("FATAL: %s is in use by another Gatehouse (%s): stop that one first, or name another directory with --data", e.dir, e.who)
}

func (e *busyError) Unwrap() error { return e.cause }

// newBusyError finds out who has the directory: from the server's word, else from its lock.
func newBusyError(dir string, cause error) *busyError {
	who := "a process that has only begun, or is about to end"
	if pid := spool.Holder(filepath.Join(dir, dirSpool)); pid != "" {
		who = "process " + pid
	}
	if f, err := readServeFile(dir, fileServe); err == nil && who == fmt.Sprint("process ", f.PID) {
		who += ", " + f.URL
	}
	return &busyError{dir, who, cause}
}

// A data directory is also held by a server that has only begun, or is about to end, and by one
// that a command has started for itself. Such a one is waited for.
const (
	busyLimit = time.Minute
	busyQuiet = time.Second // waiting that nobody needs to hear of
	busyPoll  = 100 * time.Millisecond
)

// whenFree runs start, again while another process is in its way, and says so on stderr.
func whenFree(ctx context.Context, stderr io.Writer, start func() error) error {
	begin, told := time.Now(), false
	for {
		err := start()
		if !errors.Is(err, spool.ErrLocked) && !errors.Is(err, engine.ErrDirInUse) {
			return err
		}
		waited := time.Since(begin)
		if waited > busyLimit {
			return fmt.Errorf("%w (waited for %s)", err, busyLimit)
		}
		if waited > busyQuiet && !told {
			told = true
			_, _ = fmt.Fprintf(stderr, "gatehouse: waiting up to %s for the data directory: %v\n", busyLimit, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(busyPoll):
		}
	}
}

// startAlone starts the server that is there for all. It waits for commands that have the data
// directory for a moment, and not for another server of its kind.
func startAlone(ctx context.Context, stderr io.Writer, o serverOptions) (s *server, err error) {
	err = whenFree(ctx, stderr, func() (err error) {
		s, err = startServer(ctx, o)
		if errors.Is(err, spool.ErrLocked) {
			if r := findRunning(ctx, o.dataDir); r != nil && !r.ofCommand {
				return errors.New(err.Error()) // no more to be waited for
			}
		}
		return err
	})
	return s, err
}
