// Package imports reads what other tools say of resources: ARM templates, Terraform's plans and states, exports of Azure
// Resource Graph. It is pure: nothing is asked of a region.
package imports

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"vauban.dev/internal/jsonc"
)

// Forms of a file.
const (
	Template  = "template"       // an ARM template
	Terraform = "terraform"      // terraform show -json
	Graph     = "resource graph" // rows of Resource Graph, or an array of resources
)

// Resource is a resource as a tool says it.
type Resource struct {
	ID      string         `json:"id"`
	Type    string         `json:"type"`
	Version string         `json:"apiVersion,omitempty"` // "" where the tool does not say
	From    string         `json:"from,omitempty"`       // how the tool calls it
	Body    map[string]any `json:"body"`
	// Known is false where values are not known before it is made: what the region says of it may be due to that.
	Known bool `json:"known"`
}

// Unmapped is what cannot be said as a resource of Azure.
type Unmapped struct {
	From string `json:"from"`
	Type string `json:"type"`
	Why  string `json:"why"`
}

// File is what was read.
type File struct {
	Form      string
	Template  json.RawMessage // of a template
	Resources []Resource      // of the others
	Unmapped  []Unmapped
}

// maxFile bounds a file.
const maxFile = 16 << 20

// Subscription stands in ids for the subscription that a Terraform file does not name.
const Subscription = "00000000-0000-0000-0000-000000000000"

// Read tells the form of a file and reads it.
func Read(data []byte) (*File, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("the file has more than %d bytes", maxFile)
	}
	plain, err := jsonc.Standard(data)
	if err != nil {
		return nil, err
	}
	var head struct {
		Schema    string          `json:"$schema"`
		Resources json.RawMessage `json:"resources"`
		Version   string          `json:"format_version"`
		Template  json.RawMessage `json:"template"` // the answer of exportTemplate
		Data      json.RawMessage `json:"data"`     // the answer of Resource Graph
	}
	trimmed := strings.TrimSpace(string(plain))
	if strings.HasPrefix(trimmed, "[") {
		return readRows(plain)
	}
	if err := json.Unmarshal(plain, &head); err != nil {
		return nil, fmt.Errorf("the file is no JSON: %w", err)
	}
	switch {
	case len(head.Template) > 0:
		return &File{Form: Template, Template: head.Template}, nil
	case head.Version != "":
		return readTerraform(plain)
	case head.Schema != "" || len(head.Resources) > 0:
		return &File{Form: Template, Template: plain}, nil
	case len(head.Data) > 0:
		return readRows(head.Data)
	}
	return nil, errors.New("the file is neither an ARM template (it has no $schema and no resources), nor what terraform show -json writes (no format_version), nor rows of Resource Graph")
}

// readRows reads rows of Resource Graph, or resources as `az resource list` shows them.
func readRows(data []byte) (*File, error) {
	var rows []map[string]any
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, fmt.Errorf("rows of Resource Graph are an array of objects: %w", err)
	}
	f := &File{Form: Graph}
	for i, row := range rows {
		id, _ := row["id"].(string)
		typ, _ := row["type"].(string)
		if !strings.HasPrefix(strings.ToLower(id), "/subscriptions/") || typ == "" {
			f.Unmapped = append(f.Unmapped, Unmapped{fmt.Sprintf("row %d", i+1), typ, "it has no id of a resource, or no type: export with `project id, type, location, tags, sku, kind, identity, zones, properties`"})
			continue
		}
		body := map[string]any{}
		for _, k := range []string{"location", "tags", "sku", "kind", "zones", "plan", "properties"} {
			if v := row[k]; v != nil && v != "" {
				body[k] = v
			}
		}
		if identity, ok := row["identity"].(map[string]any); ok {
			body["identity"] = writableIdentity(identity)
		}
		properties, hasProperties := body["properties"].(map[string]any)
		if properties["privateEndpoint"] != nil && strings.EqualFold(typ, "Microsoft.Network/networkInterfaces") {
			continue // its private endpoint makes it
		}
		f.Resources = append(f.Resources, Resource{ID: id, Type: typ, From: id, Body: body, Known: hasProperties})
		if strings.EqualFold(typ, "Microsoft.Network/virtualNetworks") {
			f.Resources = append(f.Resources, peerings(id, properties)...)
		}
	}
	return f, nil
}

// peerings takes the peerings out of a virtual network: two networks name each other in them, and each must be there first.
func peerings(network string, properties map[string]any) (all []Resource) {
	list, _ := properties["virtualNetworkPeerings"].([]any)
	for _, x := range list {
		m, _ := x.(map[string]any)
		name, _ := m["name"].(string)
		if name != "" {
			id := network + "/virtualNetworkPeerings/" + name
			all = append(all, Resource{ID: id, Type: "Microsoft.Network/virtualNetworks/virtualNetworkPeerings", From: id, Body: map[string]any{"properties": m["properties"]}, Known: true})
		}
	}
	delete(properties, "virtualNetworkPeerings")
	return all
}

// writableIdentity is an identity without what the platform says of it.
func writableIdentity(v map[string]any) map[string]any {
	out := map[string]any{"type": v["type"]}
	if users, ok := v["userAssignedIdentities"].(map[string]any); ok {
		ids := map[string]any{}
		for id := range users {
			ids[id] = map[string]any{}
		}
		out["userAssignedIdentities"] = ids
	}
	return out
}
