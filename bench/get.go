package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxBody bounds the answers that are read; larger ones are a failure.
const maxBody = 256 << 20

// Get asks for a page under a key and gives its body; anything but 200 is an error.
func Get(ctx context.Context, client *http.Client, url, key string) (body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-API-Key", key)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %.500s", req.URL.Path, resp.Status, body)
	}
	return body, nil
}
