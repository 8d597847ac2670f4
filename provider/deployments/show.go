package deployments

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// shown is a deployment as an answer has it (Resources REST: DeploymentExtended).
type shown struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties map[string]any    `json:"properties"`
}

func (p *Provider) show(r *record) *shown {
	end := r.Changed
	if r.active() {
		end = p.cfg.Clock.Now()
	}
	props := map[string]any{
		"templateHash": r.Hash, "mode": r.Mode, "provisioningState": r.State, "timestamp": stamp(r.Changed), "duration": iso(end.Sub(r.Start)),
		"correlationId": r.CorrelationID, "parameters": orEmpty(r.Parameters, "{}"), "providers": orEmpty(r.Providers, "[]"), "dependencies": orEmpty(r.Dependencies, "[]"),
	}
	if r.TemplateLink != nil {
		props["templateLink"] = r.TemplateLink
	}
	if r.ParametersLink != nil {
		props["parametersLink"] = r.ParametersLink
	}
	if r.Outputs != nil {
		props["outputs"] = r.Outputs
	}
	if r.State == succeeded {
		list := []map[string]string{}
		for _, id := range r.Resources {
			list = append(list, map[string]string{"id": id})
		}
		props["outputResources"] = list
	}
	if r.Error != nil {
		props["error"] = r.Error
	}
	if r.OnError != nil {
		o := map[string]any{"type": r.OnError.Type}
		if r.OnError.Deployment != "" {
			o["deploymentName"] = r.OnError.Deployment
		}
		if r.OnError.State != "" {
			o["provisioningState"] = r.OnError.State
		}
		props["onErrorDeployment"] = o
	}
	return &shown{ID: r.ID, Name: r.name(), Type: Type, Location: r.Location, Tags: r.Tags, Properties: props}
}

func orEmpty(m json.RawMessage, empty string) json.RawMessage {
	if m == nil {
		return json.RawMessage(empty)
	}
	return m
}

func showStep(r *record, s *step) map[string]any {
	props := map[string]any{
		"provisioningOperation": s.Operation, "provisioningState": s.State, "timestamp": stamp(s.Changed), "duration": iso(s.Changed.Sub(s.Start)), "trackingId": s.Tracking,
	}
	if s.StatusCode != "" {
		props["statusCode"] = s.StatusCode
	}
	if s.Request != "" {
		props["serviceRequestId"] = s.Request
	}
	if s.Failure != nil {
		props["statusMessage"] = s.Failure
	}
	if s.Resource != "" {
		props["targetResource"] = map[string]string{"id": s.Resource, "resourceType": s.Type, "resourceName": s.Name}
	}
	return map[string]any{"id": r.ID + "/operations/" + s.ID, "operationId": s.ID, "properties": props}
}

func newestFirst(all []*record) {
	slices.SortStableFunc(all, func(a, b *record) int { return b.Start.Compare(a.Start) })
}

func inOrder(steps []*step) {
	slices.SortStableFunc(steps, func(a, b *step) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// stamp is a time with the seven digits of .NET.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// azureTime is a time as messages write it.
func azureTime(t time.Time) string { return t.UTC().Format("1/2/2006 3:04:05 PM") }

// expires is when Azure would give a running deployment up: after a week.
func expires(r *record) time.Time { return r.Start.Add(7 * 24 * time.Hour) }

// iso is a duration of ISO 8601.
func iso(d time.Duration) string {
	d = max(d, 0)
	s := "PT"
	if h := int(d.Hours()); h > 0 {
		s += fmt.Sprintf("%dH", h)
		d -= time.Duration(h) * time.Hour
	}
	if m := int(d.Minutes()); m > 0 {
		s += fmt.Sprintf("%dM", m)
		d -= time.Duration(m) * time.Minute
	}
	return s + strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.7f", d.Seconds()), "0"), ".") + "S"
}
