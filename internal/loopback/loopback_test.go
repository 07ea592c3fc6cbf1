package loopback

import "testing"

func TestIs(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST.": true, "localhost:8000": true, "127.0.0.1": true, "127.8.9.1:80": true, "::1": true, "[::1]": true, "[::1]:443": true, "::ffff:127.0.0.1": true,
		"": false, "example.org": false, "localhost.example.org": false, "notlocalhost": false, "10.0.0.1": false, "0.0.0.0": false, "[::2]:1": false, "::ffff:10.0.0.1": false, "127.0.0.1.example.org": false,
	} {
		if got := Is(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
