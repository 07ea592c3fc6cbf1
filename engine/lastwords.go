package engine

import (
	"bytes"
	"strings"
	"sync"
)

const (
	// lastWordsSize is how much of what the child wrote is kept.
	lastWordsSize = 4 << 10
	// crashSize is how much of a crash report is kept, from its beginning: there
	// stands the reason. The whole of it is in the log directory.
	crashSize = 2 << 10
)

// crashMarks begin the line in which a Go or C++ runtime says why it gives up.
var crashMarks = [][]byte{
	[]byte("SIG"), []byte("fatal error: "), []byte("panic: "), []byte("unexpected fault"), []byte("terminate called"),
	[]byte("runtime: "), []byte("libc++abi"), []byte("double free"), []byte("malloc"),
}

// lastWords keeps the end of what the child wrote to its standard error, and
// once it crashes, the beginning of the report instead of the end: its
// messages go to the parent's log when it dies.
type lastWords struct {
	mu      sync.Mutex
	buf     []byte
	crashed bool
	report  int // of buf, where the crash report begins
	line    int // of buf, where the last line begins
}

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for len(p) > 0 && (!l.crashed || len(l.buf)-l.report < crashSize) {
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line = p[:i+1]
		}
		p = p[len(line):]
		l.buf = append(l.buf, line...)
		l.mark()
		if line[len(line)-1] == '\n' {
			l.line = len(l.buf)
		}
	}
	return n, nil
}

// mark notices the beginning of a crash report, and forgets what is too old.
func (l *lastWords) mark() {
	if l.crashed {
		return
	}
	for _, m := range crashMarks {
		if bytes.HasPrefix(l.buf[l.line:], m) {
			l.crashed, l.report = true, l.line
			return
		}
	}
	if over := len(l.buf) - lastWordsSize; over > 0 {
		l.buf = append(l.buf[:0], l.buf[over:]...)
		l.line = max(0, l.line-over)
	}
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.buf))
}

// last is the last line, where a child that ends in order gives its reason.
func (l *lastWords) last() string {
	s := l.String()
	return s[strings.LastIndexByte(s, '\n')+1:]
}
