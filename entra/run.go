package entra

import (
	"context"
	"strings"
	"time"

	"vauban.dev/authz"
)

// RunTokenLife is how long a run token is valid; the job's agent has it renewed while the run lives.
const RunTokenLife = 24 * time.Hour

// runIssuer is issuer and audience of run tokens. It is not the tenant's, so that no service but the
// workspace's own takes one, whatever audiences it allows.
const runIssuer = "azureml"

// Run is what a run token (AZUREML_RUN_TOKEN) stands for: the workspace acting for one run.
type Run struct {
	Workspace   string // ARM id of the workspace
	WorkspaceID string // its GUID
	Experiment  string
	RunID       string
	PrincipalID string // object id whose roles apply: the workspace's identity or the compute's
	Expires     time.Time
}

type runClaims struct {
	Role        string `json:"role"`
	Scope       string `json:"scope"`
	WorkspaceID string `json:"workspaceId"`
	Experiment  string `json:"experiment,omitempty"`
	RunID       string `json:"runId"`
	TenantID    string `json:"tid"`
	OID         string `json:"oid"`
	Issuer      string `json:"iss"`
	Audience    string `json:"aud"`
	NotBefore   int64  `json:"nbf"`
	Expires     int64  `json:"exp"`
	UTI         string `json:"uti"`
}

// IssueRun makes the token of a run. Expires of r is ignored; the result tells the time.
func (d *Directory) IssueRun(_ context.Context, r Run) (Token, error) {
	now := d.clock.Now().Truncate(time.Second)
	t := Token{Audience: runIssuer, NotBefore: now.Add(-Backdate), ExpiresOn: now.Add(RunTokenLife), ExpiresIn: RunTokenLife}
	var err error
	t.AccessToken, err = d.Sign(runClaims{
		Role:        "Contributor",
		Scope:       r.Workspace,
		WorkspaceID: r.WorkspaceID,
		Experiment:  r.Experiment,
		RunID:       r.RunID,
		TenantID:    d.Tenant().ID,
		OID:         r.PrincipalID,
		Issuer:      runIssuer,
		Audience:    runIssuer,
		NotBefore:   t.NotBefore.Unix(),
		Expires:     t.ExpiresOn.Unix(),
		UTI:         random(16),
	})
	return t, err
}

// VerifyRun checks a run token in full and returns the run and the principal that it acts as. The
// error is a *TokenError. It is the workspace's services that call it, and that hold the caller to
// the run.
func (d *Directory) VerifyRun(ctx context.Context, token string) (Run, authz.Principal, error) {
	if len(token) > maxToken {
		return Run{}, authz.Principal{}, &TokenError{Reason: Malformed}
	}
	var cl runClaims
	if err := d.open(token, &cl); err != nil {
		return Run{}, authz.Principal{}, err
	}
	if cl.Issuer != runIssuer || !strings.EqualFold(cl.TenantID, d.Tenant().ID) {
		return Run{}, authz.Principal{}, &TokenError{Reason: WrongTenant, Got: cl.Issuer, Want: []string{runIssuer}}
	}
	if cl.Audience != runIssuer {
		return Run{}, authz.Principal{}, &TokenError{Reason: WrongAudience, Got: cl.Audience, Want: []string{runIssuer}}
	}
	if cl.Scope == "" || cl.RunID == "" || cl.OID == "" {
		return Run{}, authz.Principal{}, &TokenError{Reason: Malformed}
	}
	life := Caller{NotBefore: time.Unix(cl.NotBefore, 0), Expires: time.Unix(cl.Expires, 0)}
	if err := life.valid(d.clock.Now()); err != nil {
		return Run{}, authz.Principal{}, err
	}
	p := authz.Principal{TenantID: d.Tenant().ID, ObjectID: cl.OID, Name: "run " + cl.RunID, Type: "ManagedIdentity"}
	if sp, err := d.Principal(ctx, cl.OID); err == nil {
		p.AppID = sp.AppID
	}
	return Run{
		Workspace:   cl.Scope,
		WorkspaceID: cl.WorkspaceID,
		Experiment:  cl.Experiment,
		RunID:       cl.RunID,
		PrincipalID: cl.OID,
		Expires:     life.Expires.UTC(),
	}, p, nil
}

// IsRunToken tells run tokens from Entra's by the issuer that they claim, so that a service which
// takes both knows which verification to ask. It proves nothing.
func IsRunToken(token string) bool {
	return len(token) <= maxToken && unprovedIssuer(token) == runIssuer
}
