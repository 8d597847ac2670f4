package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/compute"
)

// Client is a node's side of the protocol.
type Client struct {
	base, token string
	http        *http.Client
}

// NewClient speaks as node to the batch service at base ("https://westeurope.service.batch.azure.com")
// through hc, which must go out by the node's NIC.
func NewClient(base, node, token string, hc *http.Client) *Client {
	return &Client{strings.TrimSuffix(base, "/") + "/nodes/" + url.PathEscape(node), token, hc}
}

// ErrUnauthorized: the service does not know this node (any more) or its token.
var ErrUnauthorized = errors.New("the batch service refuses this node")

// Register says that the agent is up. Errors: ErrUnauthorized, ErrNoNode.
func (c *Client) Register(ctx context.Context, r Register) (out Registered, err error) {
	return out, c.call(ctx, "/register", r, &out)
}

// Poll is held by the service until there is something to do, or p.WaitSeconds. Errors: as Register.
func (c *Client) Poll(ctx context.Context, p Poll) (out Reply, err error) {
	return out, c.call(ctx, "/poll", p, &out)
}

// Report delivers one report. Errors: as Register, and ErrLost.
func (c *Client) Report(ctx context.Context, r compute.Report) error {
	return c.call(ctx, "/reports", r, nil)
}

func (c *Client) call(ctx context.Context, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("batch service: %w", err)
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, MaxReply)
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return ErrUnauthorized
	case resp.StatusCode == http.StatusNotFound:
		return ErrNoNode
	case resp.StatusCode == http.StatusConflict:
		return ErrLost
	case resp.StatusCode/100 != 2:
		text, _ := io.ReadAll(io.LimitReader(body, 1024))
		return fmt.Errorf("batch service: %s: %s", resp.Status, bytes.TrimSpace(text))
	case out == nil:
		return nil
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("batch service: answer: %w", err)
	}
	return nil
}
