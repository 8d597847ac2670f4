package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Client sends requests to Resource Manager.
type Client struct {
	HTTP  *http.Client
	Base  string // "https://management.azure.com"
	Token string // "" for a server that asks for none
}

// Provision makes every resource of the stages and returns how many, adding to values what requests keep. It
// polls as Azure's SDKs do: at once, then at the pace of Retry-After.
func (c *Client) Provision(ctx context.Context, stages []Stage, values Values) (int, error) {
	made := 0
	for _, stage := range stages {
		kept := make([]Values, len(stage.Requests))
		errs := make([]error, len(stage.Requests))
		var wg sync.WaitGroup
		for i, r := range stage.Requests {
			wg.Go(func() { kept[i], errs[i] = c.make(ctx, r, values) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return made, fmt.Errorf("%s: %w", stage.Name, err)
		}
		for _, k := range kept {
			for name, value := range k {
				values[name] = value
			}
		}
		made += len(stage.Requests)
	}
	return made, nil
}

// make puts one resource and waits until it is provisioned.
func (c *Client) make(ctx context.Context, r Request, values Values) (Values, error) {
	path, err := values.Fill(r.Path)
	if err != nil {
		return nil, err
	}
	body, err := values.Fill(string(r.Body))
	if err != nil {
		return nil, err
	}
	answer, operation, err := c.send(ctx, http.MethodPut, c.Base+path, []byte(body))
	if err != nil {
		return nil, err
	}
	if operation != "" {
		if err := c.wait(ctx, path, operation); err != nil {
			return nil, err
		}
		if len(r.Keep) > 0 {
			if answer, _, err = c.send(ctx, http.MethodGet, c.Base+path, nil); err != nil {
				return nil, err
			}
		}
	}
	out := Values{}
	for name, member := range r.Keep {
		if out[name], err = lookup(answer, member); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return out, nil
}

// wait follows an asynchronous operation to its end.
func (c *Client) wait(ctx context.Context, path, operation string) error {
	for {
		res, err := c.do(ctx, http.MethodGet, operation, nil)
		if err != nil {
			return err
		}
		b, err := readAll(res)
		if err != nil {
			return err
		}
		var op struct {
			Status string          `json:"status"`
			Error  json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(b, &op); err != nil {
			return fmt.Errorf("%s: %w", operation, err)
		}
		switch op.Status {
		case "Succeeded":
			return nil
		case "Failed", "Canceled":
			return fmt.Errorf("%s: %s: %s", path, op.Status, op.Error)
		}
		pause := 100 * time.Millisecond
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
			pause = time.Duration(s) * time.Second
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send returns the body of a 2xx answer, and the operation to follow, if any.
func (c *Client) send(ctx context.Context, method, url string, body []byte) (answer []byte, operation string, err error) {
	res, err := c.do(ctx, method, url, body)
	if err != nil {
		return nil, "", err
	}
	answer, err = readAll(res)
	return answer, res.Header.Get("Azure-AsyncOperation"), err
}

func (c *Client) do(ctx context.Context, method, url string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return c.HTTP.Do(r)
}

func readAll(res *http.Response) ([]byte, error) {
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", res.Request.Method, res.Request.URL.Path, res.Status, b)
	}
	return b, err
}

// lookup finds a member of a JSON object by its dotted path.
func lookup(doc []byte, path string) (string, error) {
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return "", err
	}
	for name := range strings.SplitSeq(path, ".") {
		o, _ := v.(map[string]any)
		v = o[name]
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is no string in the answer", path)
	}
	return s, nil
}
