package objects

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm/rp"
)

// Task is a build that a registry does on demand or on triggers. What of it is secret is in no answer but listDetails'.
type Task struct {
	CreationDate *time.Time     `json:"creationDate,omitempty" rp:"readonly"`
	Status       string         `json:"status,omitempty"`
	System       bool           `json:"isSystemTask"`
	Platform     map[string]any `json:"platform,omitempty"`
	Agent        map[string]any `json:"agentConfiguration,omitempty"`
	Timeout      int            `json:"timeout,omitempty"`
	Step         map[string]any `json:"step,omitempty"`
	Trigger      map[string]any `json:"trigger,omitempty"`
	Credentials  map[string]any `json:"credentials,omitempty"`
	Details      *taskDetails   `json:"details,omitempty" rp:"private"`
}

// taskDetails are the members as they were sent.
type taskDetails struct {
	Step        map[string]any `json:"step,omitempty"`
	Trigger     map[string]any `json:"trigger,omitempty"`
	Credentials map[string]any `json:"credentials,omitempty"`
}

func taskType() object {
	return of(rp.Type[Task]{
		Name: RegistryType + "/tasks", Versions: rp.Versions[Task](since(registryVersions, "2018-09-01")...),
		NamePattern: `^[a-zA-Z0-9_-]{5,50}$`, NameRule: "Task names must contain 5 to 50 alphanumeric characters, hyphens and underscores.",
		CreateStatus: http.StatusOK, SyncDelete: true,
		Default: taskDefaults, Validate: validateTask, Admit: admitTask,
		Actions: map[string]rp.Action[Task]{"listDetails": {Do: listTask}},
	})
}

func taskDefaults(_ string, r *rp.Resource[Task]) {
	v := &r.Properties
	otherwise(&v.Status, "Enabled")
	otherwise(&v.Timeout, 3600)
	if v.Platform != nil && v.Platform["architecture"] == nil {
		v.Platform["architecture"] = "amd64"
	}
	if v.Step["type"] == "Docker" {
		for name, value := range map[string]any{"isPushEnabled": true, "noCache": false} {
			if v.Step[name] == nil {
				v.Step[name] = value
			}
		}
	}
	if base, ok := v.Trigger["baseImageTrigger"].(map[string]any); ok {
		enable(base)
		if base["updateTriggerPayloadType"] == nil {
			base["updateTriggerPayloadType"] = "Default"
		}
	}
	for _, kind := range []string{"sourceTriggers", "timerTriggers"} {
		list, _ := v.Trigger[kind].([]any)
		for _, t := range list {
			if m, ok := t.(map[string]any); ok {
				enable(m)
			}
		}
	}
}

// enable: triggers act unless told otherwise.
func enable(trigger map[string]any) {
	if trigger["status"] == nil {
		trigger["status"] = "Enabled"
	}
}

func validateTask(_ rp.Op, r, _ *rp.Resource[Task]) error {
	v := &r.Properties
	if err := oneOf("InvalidRequestContent", "properties.status", &v.Status, "Enabled", "Disabled"); err != nil {
		return err
	}
	if v.Timeout < 300 || v.Timeout > 28800 {
		return refuse("InvalidRequestContent", "The value %d of 'properties.timeout' is invalid. It must be between 300 and 28800 seconds.", v.Timeout)
	}
	if v.System {
		return nil
	}
	os, _ := v.Platform["os"].(string)
	kind, _ := v.Step["type"].(string)
	return first(must("InvalidRequestContent", "properties.platform.os", os), oneOf("InvalidRequestContent", "properties.platform.os", &os, "Linux", "Windows"),
		must("InvalidRequestContent", "properties.step.type", kind), oneOf("InvalidRequestContent", "properties.step.type", &kind, "Docker", "FileTask", "EncodedTask"))
}

// admitTask puts what was sent aside, and the secrets out of what is shown. A member that comes back as it was shown
// keeps its secrets: a PATCH of the others, or a PUT of what a GET answered.
func admitTask(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Task]) error {
	v, was, kept := &new.Properties, Task{}, taskDetails{}
	created(&v.CreationDate, op, tx.Now)
	if old != nil && old.Properties.Details != nil {
		was, kept = old.Properties, *old.Properties.Details
	}
	keepSources(v.Trigger, kept.Trigger)
	v.Details = &taskDetails{Step: unlessSame(v.Step, was.Step, kept.Step), Trigger: unlessSame(v.Trigger, was.Trigger, kept.Trigger),
		Credentials: unlessSame(v.Credentials, was.Credentials, kept.Credentials)}
	v.Step, v.Trigger, v.Credentials = shown(v.Details.Step), shown(v.Details.Trigger), shownCredentials(v.Details.Credentials)
	return nil
}

// keepSources fills in what a source trigger leaves out and had: a change names it, and says what changes ("Tasks - Update").
func keepSources(sent, had map[string]any) {
	before, _ := had["sourceTriggers"].([]any)
	now, _ := sent["sourceTriggers"].([]any)
	for _, e := range now {
		trigger, _ := e.(map[string]any)
		i := slices.IndexFunc(before, func(b any) bool {
			m, _ := b.(map[string]any)
			return trigger["name"] != nil && m["name"] == trigger["name"]
		})
		if i < 0 {
			continue
		}
		was := clone(before[i].(map[string]any))
		if to := get(trigger, "sourceRepository.repositoryUrl"); to != nil && to != get(was, "sourceRepository.repositoryUrl") {
			delete(was, "sourceRepository") // what signs in at a repository stays with it
		}
		complement(trigger, was)
	}
}

// complement puts into a tree what another has more.
func complement(tree, from map[string]any) {
	for name, v := range from {
		inner, isTree := tree[name].(map[string]any)
		more, _ := v.(map[string]any)
		switch {
		case isTree:
			complement(inner, more)
		case tree[name] == nil:
			tree[name] = v
		}
	}
}

// unlessSame is what was sent, or what is kept when it was sent as it is shown.
func unlessSame(sent, shown, kept map[string]any) map[string]any {
	if len(shown) > 0 && reflect.DeepEqual(sent, shown) {
		return kept
	}
	return sent
}

func isSecret(v any) bool {
	m, _ := v.(map[string]any)
	for name, value := range m {
		if strings.EqualFold(name, "isSecret") {
			return value == true
		}
	}
	return false
}

// shown is a tree without secret arguments and without what signs in at a source.
func shown(tree map[string]any) map[string]any {
	if tree == nil {
		return nil
	}
	return without(tree).(map[string]any)
}

var taskSecrets = []string{"sourceControlAuthProperties", "contextAccessToken", "updateTriggerEndpoint"}

func without(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			if !slices.ContainsFunc(taskSecrets, func(s string) bool { return strings.EqualFold(s, name) }) {
				out[name] = without(value)
			}
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			if !isSecret(e) {
				out = append(out, without(e))
			}
		}
		return out
	}
	return v
}

// shownCredentials names the registries that a task signs in at, and no more.
func shownCredentials(c map[string]any) map[string]any {
	if c == nil {
		return nil
	}
	out := map[string]any{}
	for name, value := range c {
		registries, _ := value.(map[string]any)
		if !strings.EqualFold(name, "customRegistries") {
			out[name] = value
			continue
		}
		names := map[string]any{}
		for r := range registries {
			names[r] = map[string]any{} // Azure has null, which a client that sends it back would delete
		}
		out[name] = names
	}
	return out
}

func listTask(_ context.Context, _ *rp.Tx, r *rp.Resource[Task], _ []byte) (any, error) {
	v := r.Properties
	if d := v.Details; d != nil {
		v.Step, v.Trigger, v.Credentials = d.Step, d.Trigger, d.Credentials
	}
	v.Details = nil
	return map[string]any{"id": r.ID.String(), "name": r.ID.Name(), "type": r.ID.Type().String(), "location": r.Location, "tags": r.Tags, "identity": r.Identity, "properties": v}, nil
}
