package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const storageResource = "https://storage.azure.com/"

// identity gets tokens of the node's managed identities from the instance metadata service.
// https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
type identity struct {
	base string
	http *http.Client

	mu    sync.Mutex
	cache map[string]token // by client id
}

type token struct {
	value   string
	expires time.Time
}

// token for storage of the identity with a client id ("" for the only one).
func (i *identity) token(ctx context.Context, clientID string) (string, error) {
	i.mu.Lock()
	t, ok := i.cache[clientID]
	i.mu.Unlock()
	if ok && time.Until(t.expires) > 5*time.Minute {
		return t.value, nil
	}
	t, err := i.fetch(ctx, clientID)
	if err != nil {
		return "", fmt.Errorf("token of the node's managed identity: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cache[clientID] = t
	return t.value, nil
}

func (i *identity) fetch(ctx context.Context, clientID string) (token, error) {
	q := url.Values{"api-version": {"2018-02-01"}, "resource": {storageResource}}
	if clientID != "" {
		q.Set("client_id", clientID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.base+"/metadata/identity/oauth2/token?"+q.Encode(), nil)
	if err != nil {
		return token{}, err
	}
	req.Header.Set("Metadata", "true")
	resp, err := i.http.Do(req)
	if err != nil {
		return token{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return token{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return token{}, statusError(resp, body)
	}
	return parseToken(body)
}

// parseToken reads IMDS's answer, in which numbers are text.
func parseToken(body []byte) (token, error) {
	var in struct {
		AccessToken string `json:"access_token"`
		ExpiresOn   string `json:"expires_on"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return token{}, fmt.Errorf("answer of the metadata service: %w", err)
	}
	at, err := strconv.ParseInt(in.ExpiresOn, 10, 64)
	if err != nil || in.AccessToken == "" {
		return token{}, fmt.Errorf("answer of the metadata service has no token or no expiry")
	}
	return token{in.AccessToken, time.Unix(at, 0)}, nil
}
