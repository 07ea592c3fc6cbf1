package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of waiting for a server.
const (
	startLimit = 2 * time.Minute  // from the start to the first readiness
	stopLimit  = 45 * time.Second // from the signal to the end; then it is killed
	pollEvery  = 50 * time.Millisecond
)

// Server is a gatehouse server that runs as a process of its own.
type Server struct {
	Binary string
	Dir    string            // its data directory
	Env    map[string]string // its settings, for example GATEHOUSE_SERVER_TLS
	Listen string            // HOST:PORT; empty: 127.0.0.1 and a free port
	Args   []string          // further ones of "gatehouse serve"

	mu      sync.Mutex
	url     string
	control string // its socket for local commands
	cmd     *exec.Cmd
	done    chan struct{} // closed when the process has ended
	err     error         // how, after done
}

// environ is the environment of the binary: that of this process without any
// settings of Gatehouse's, and Env.
func (s *Server) environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "GATEHOUSE_") && !strings.HasPrefix(e, "GATEHOUSE_ENGINE_LIBRARY=") {
			continue
		}
		if strings.HasPrefix(e, "CLICKHOUSE_URL=") || strings.HasPrefix(e, "DATABASE_URL=") {
			continue
		}
		env = append(env, e)
	}
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	return env
}

// Start starts the server and waits until it is ready.
func (s *Server) Start(ctx context.Context) error {
	if err := s.Launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("the server did not start: %w\n%s", err, s.LogTail()), s.Kill())
	}
	return nil
}

// Launch starts the server and does not wait.
func (s *Server) Launch() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	listen := s.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	// A file of a former life must not be taken for this one's.
	if err := os.Remove(filepath.Join(s.Dir, "serve.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	args := append([]string{"serve", "--data", s.Dir, "--listen", listen}, s.Args...)
	cmd := exec.CommandContext(context.Background(), s.Binary, args...) //nolint:gosec // the caller's own binary
	cmd.Env, cmd.Stdout, cmd.Stderr = s.environ(), log, log
	err = cmd.Start()
	err = errors.Join(err, log.Close())
	if err != nil {
		return err
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.done, s.err = cmd, done, nil
	s.mu.Unlock()
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		close(done)
	}()
	return nil
}

// LogFile is where the server's output goes.
func (s *Server) LogFile() string { return filepath.Join(s.Dir, "server.log") }

// LogTail is the end of the server's output, for messages.
func (s *Server) LogTail() string {
	const shown = 3000
	text, err := os.ReadFile(s.LogFile())
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-shown):])
}

func (s *Server) waitReady(ctx context.Context, done <-chan struct{}) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		select {
		case <-done:
			return fmt.Errorf("it ended: %w", errors.Join(s.Err(), last))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-tick.C:
		}
		if last = s.readURL(); last != nil {
			continue
		}
		if last = s.ready(ctx); last == nil {
			return nil
		}
	}
}

func (s *Server) readURL() error {
	text, err := os.ReadFile(filepath.Join(s.Dir, "serve.json"))
	if err != nil {
		return err
	}
	var v struct {
		URL     string `json:"url"`
		Control string `json:"control"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	if v.URL == "" || v.Control == "" {
		return errors.New("serve.json names no url or no control socket")
	}
	s.mu.Lock()
	s.url, s.control = v.URL, v.Control
	s.mu.Unlock()
	return nil
}

// Ready asks /readyz once.
func (s *Server) Ready(ctx context.Context) (status int, text string, err error) {
	client, err := s.Client(1)
	if err != nil {
		return 0, "", err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/readyz", nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(body), errors.Join(err, resp.Body.Close())
}

// ready tells why the server is not ready.
func (s *Server) ready(ctx context.Context) error {
	status, _, err := s.Ready(ctx)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("/readyz answers %d", status)
	}
	return err
}

// WaitReady waits until a running server is ready (again).
func (s *Server) WaitReady(ctx context.Context) error {
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	return s.waitReady(ctx, done)
}

// TLSConfig trusts the certificate that the server made for itself.
func (s *Server) TLSConfig() (*tls.Config, error) {
	text, err := os.ReadFile(filepath.Join(s.Dir, "tls", "cert.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("tls/cert.pem holds no certificate")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// Client is an HTTP client of so many connections that trusts the server.
func (s *Server) Client(connections int) (*http.Client, error) {
	t := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, IdleConnTimeout: time.Minute, DisableCompression: true}
	if strings.HasPrefix(s.URL(), "https:") {
		conf, err := s.TLSConfig()
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = conf
	}
	return &http.Client{Transport: t}, nil
}

// URL is where it listens, or listened last.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Address is the HOST:PORT it listens on.
func (s *Server) Address() string {
	_, rest, _ := strings.Cut(s.URL(), "://")
	return strings.TrimSuffix(rest, "/")
}

// PID is the server's process id, 0 when it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	select {
	case <-s.done:
		return 0
	default:
		return s.cmd.Process.Pid
	}
}

// Err is how the process ended, nil while it runs.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// EnginePID is the process id of the server's engine, 0 when there is none now.
func (s *Server) EnginePID() int {
	pid := s.PID()
	if pid == 0 {
		return 0
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0
	}
	for _, t := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
			if err == nil && len(bytes.Split(args, []byte{0})) > 1 && string(bytes.Split(args, []byte{0})[1]) == "engine" {
				return child
			}
		}
	}
	return 0
}

// Kill ends the server at once, as a power cut would, and waits for its end.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Stop asks the server to end and waits until it has.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

func (s *Server) end(sig syscall.Signal) error {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-done:
	case <-time.After(stopLimit):
		return errors.Join(fmt.Errorf("the server did not end within %s of signal %v", stopLimit, sig), cmd.Process.Kill())
	}
	if sig == syscall.SIGTERM {
		if err := s.Err(); err != nil {
			return fmt.Errorf("the server ended badly: %w\n%s", err, s.LogTail())
		}
	}
	return nil
}

// CLI runs the binary on the server's data directory and gives its output.
func (s *Server) CLI(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.Binary, append([]string{"--data", s.Dir}, args...)...) //nolint:gosec // the caller's own binary
	cmd.Env = s.environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("gatehouse %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// Tenant is a company with a key that may send and read.
type Tenant struct {
	ID   uint32
	Name string
	Key  string
}

// CreateCompany makes a company and a key for it.
func (s *Server) CreateCompany(ctx context.Context, name, zone string) (t Tenant, err error) {
	args := []string{"company", "create", name, "--json"}
	if zone != "" {
		args = append(args, "--timezone", zone)
	}
	out, err := s.CLI(ctx, args...)
	if err != nil {
		return t, err
	}
	var made struct {
		ID uint32 `json:"id"`
	}
	if err := json.Unmarshal(out, &made); err != nil || made.ID == 0 {
		return t, fmt.Errorf("company create --json printed no id: %w", err)
	}
	out, err = s.CLI(ctx, "key", "create", "--company", name, "--scopes", "ingest,read", "--json")
	if err != nil {
		return t, err
	}
	var v struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(out, &v); err != nil || v.Key == "" {
		return t, fmt.Errorf("key create --json printed no key: %w", err)
	}
	return Tenant{ID: made.ID, Name: name, Key: v.Key}, nil
}

// Flush returns when every event that the server has taken can be counted.
func (s *Server) Flush(ctx context.Context) error {
	s.mu.Lock()
	control := s.control
	s.mu.Unlock()
	client := socketClient(control)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gatehouse/internal/v1/flush", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("flush: %s", resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

// EngineClient speaks HTTP to the engine itself, through the socket that its
// own user can open. It is for looking at the store's tables, not for reports.
func (s *Server) EngineClient() *http.Client {
	return socketClient(filepath.Join(s.Dir, "engine", "run", "engine.sock"))
}

func socketClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
}
