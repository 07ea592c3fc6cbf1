package ingest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gatehouse/event"
)

// Names within the writer's directory.
const (
	writerNameFile = "writer-name"
	asideName      = "set-aside.ndjson"
	// writerPrefix begins the insert tokens of all writers.
	writerPrefix = "gatehouse-"
)

// asideFile keeps the records that cannot be stored, one JSON object a line, for an
// operator to look at. Nothing is ever taken out of it by the program.
type asideFile struct {
	mu   sync.Mutex
	f    *os.File
	size int64
	seen map[string]struct{} // keys in the file: a record that comes again after a crash is in it once
}

type asideLine struct {
	Key    string    `json:"key"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Record []byte    `json:"record"` // as in the queue, base64
}

func openAside(dir string) (*asideFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, asideName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	a := &asideFile{f: f, seen: map[string]struct{}{}}
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // a line without an end was torn by a crash, and its record comes again
			break
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		var l asideLine
		if json.Unmarshal(line, &l) == nil {
			a.seen[l.Key] = struct{}{}
		}
		a.size += int64(len(line))
	}
	if err := f.Truncate(a.size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// put appends what is not there yet and makes it durable.
func (a *asideFile) put(records []strayRecord, now time.Time) error {
	if len(records) == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	var keys []string
	for _, r := range records {
		if _, ok := a.seen[r.key]; ok || slices.Contains(keys, r.key) {
			continue
		}
		keys = append(keys, r.key)
		if err := enc.Encode(asideLine{Key: r.key, At: now.UTC(), Reason: r.reason, Record: r.data}); err != nil {
			return err
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if _, err := a.f.WriteAt(b.Bytes(), a.size); err != nil {
		return err
	}
	if err := a.f.Sync(); err != nil {
		return err
	}
	a.size += int64(b.Len())
	for _, k := range keys {
		a.seen[k] = struct{}{}
	}
	return nil
}

// asideKey names an event that was set aside.
func asideKey(id event.ID) string { return "id " + id.String() }

func (a *asideFile) has(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.seen[key]
	return ok
}

func (a *asideFile) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

func (a *asideFile) close() error { return a.f.Close() }

func randomName() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

// writerName is the name of the writer of dir, the same in all its lives: by it a later life finds
// on the server what an earlier one left running.
func writerName(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, writerNameFile)
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 16 {
		if _, err := hex.DecodeString(string(b)); err == nil {
			return writerPrefix + string(b) + "-", nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name, err := randomName()
	if err != nil {
		return "", err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(name)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return writerPrefix + name + "-", nil
}
