package engine

import (
	"fmt"
	"strings"
	"testing"
)

func TestLastWordsKeepTheReason(t *testing.T) {
	for _, chunk := range []int{1, 7, 100, 1 << 20} {
		l := &lastWords{}
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, "line %d of the log\n", i)
		}
		b.WriteString("SIGSEGV: segmentation violation\nPC=0x1\n")
		for i := range 1000 {
			fmt.Fprintf(&b, "goroutine %d\n", i)
		}
		for s := b.String(); s != ""; {
			n := min(chunk, len(s))
			if _, err := l.Write([]byte(s[:n])); err != nil {
				t.Fatal(err)
			}
			s = s[n:]
		}
		got := l.String()
		if !strings.Contains(got, "SIGSEGV: segmentation violation\nPC=0x1") || !strings.Contains(got, "line 999 of") || strings.Contains(got, "goroutine 999") {
			t.Errorf("chunks of %d: %q", chunk, got)
		}
		if len(got) > lastWordsSize+crashSize+chunk {
			t.Errorf("%d bytes kept", len(got))
		}
	}
}
