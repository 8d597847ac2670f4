package machinelearning

import (
	"context"
	"encoding/json"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/diagnose"
)

// diagnoseRequest is what a diagnosis is asked for (Machine Learning REST: DiagnoseWorkspaceParameters): the groups that
// value has; none means all.
type diagnoseRequest struct {
	Value map[string]json.RawMessage `json:"value"`
}

func readDiagnose(body []byte) (*diagnoseRequest, error) {
	q := new(diagnoseRequest)
	if len(body) == 0 {
		return q, nil
	}
	if err := json.Unmarshal(body, q); err != nil {
		return nil, userError("The request body is no DiagnoseWorkspaceParameters: %v.", err)
	}
	return q, nil
}

func checkDiagnose(_ context.Context, _ *rp.Tx, _ *rp.Resource[Workspace], body []byte) (any, error) {
	_, err := readDiagnose(body)
	return nil, err
}

// diagnose is the action: it asks models and makes connections, after the 202.
func (p *Provider) diagnose(ctx context.Context, r *rp.Resource[Workspace], body []byte) (any, error) {
	q, err := readDiagnose(body)
	if err != nil {
		return nil, err
	}
	if p.Diagnose == nil {
		return nil, arm.NotImplemented("diagnose: this region has no network to look at.")
	}
	report, err := p.Diagnose(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	q.keep(report)
	return struct {
		Value *diagnose.Report `json:"value"`
	}{report}, nil
}

// keep empties the groups that were not asked for.
func (q *diagnoseRequest) keep(r *diagnose.Report) {
	asked := map[string]bool{}
	for name, v := range q.Value {
		if string(v) != "null" {
			asked[strings.ToLower(name)] = true
		}
	}
	if len(asked) == 0 {
		return
	}
	for name, list := range map[string]*[]diagnose.Result{
		"udr": &r.Routes, "nsg": &r.Groups, "resourcelock": &r.Locks, "dnsresolution": &r.Names, "storageaccount": &r.Storage, "keyvault": &r.Vault,
		"containerregistry": &r.Registry, "applicationinsights": &r.Insights, "others": &r.Others,
	} {
		if !asked[name] {
			*list = []diagnose.Result{}
		}
	}
}
