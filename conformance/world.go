package conformance

import (
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// world puts a case into the region: its subscription for the recorded one, the region's place for every location,
// and names of its own for groups and for what all of Azure shares, so that cases do not meet.
type world struct {
	subscription string
	tenant       string
	principal    string // who stands for the recorded tenant's users
	location     string
	suffix       string            // of groups and global names
	names        map[string]string // whole strings and path segments that are replaced
}

// global are the types whose names are unique in all of Azure.
var global = map[string]int{ // the length that a name may have
	"microsoft.storage/storageaccounts":         24,
	"microsoft.keyvault/vaults":                 24,
	"microsoft.containerregistry/registries":    50,
	"microsoft.network/publicipaddresses/label": 63,
}

// notInNames is what examples have in names that Azure itself would refuse.
var notInNames = regexp.MustCompile(`[^A-Za-z0-9]`)

// placeholder is what an example leaves to the reader: {accountName}, <name>.
var placeholder = regexp.MustCompile(`^[{<].*[}>]$`)

// filled is a name for a placeholder; one that says that it is an identifier gets a GUID.
func filled(s string) string {
	if l := strings.ToLower(s); strings.Contains(l, "guid") || strings.HasSuffix(strings.Trim(l, "{}<>"), "id") {
		return uuid.NewSHA1(uuid.Nil, []byte(s)).String()
	}
	return notInNames.ReplaceAllString(s, "")
}

// identified are the types whose names are GUIDs.
var identified = map[string]bool{"microsoft.authorization/roleassignments": true, "microsoft.authorization/roledefinitions": true}

var guidName = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

var subscriptionID = regexp.MustCompile(`(?i)^(/subscriptions/)[^/?]+`)

// rename chooses names for the groups and global names of a path.
func (w *world) rename(path string) {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for i := 4; i < len(parts); i++ {
		if _, known := w.names[parts[i]]; !known && placeholder.MatchString(parts[i]) && w.suffix != "" {
			w.names[parts[i]] = filled(parts[i])
		}
	}
	for i := 1; i+1 < len(parts); i++ {
		switch {
		case strings.EqualFold(parts[i], "resourceGroups") && w.suffix != "":
			w.names[parts[i+1]] = strings.Trim(parts[i+1], "{}<>") + "-" + w.suffix
		case strings.EqualFold(parts[i], "providers") && i+3 < len(parts):
			if identified[strings.ToLower(parts[i+1]+"/"+parts[i+2])] && !guidName.MatchString(parts[i+3]) && w.suffix != "" {
				w.names[parts[i+3]] = filled(parts[i+3] + "guid")
			}
			if n, ok := global[strings.ToLower(parts[i+1]+"/"+parts[i+2])]; ok && w.suffix != "" {
				name := strings.ToLower(notInNames.ReplaceAllString(parts[i+3], ""))
				w.names[parts[i+3]] = name[:min(len(name), n-len(w.suffix))] + w.suffix
			}
		}
	}
}

// own is a recorded value in this region.
func (w *world) own(v any) any { return w.value("", v) }

func (w *world) value(key string, v any) any {
	switch v := v.(type) {
	case string:
		return w.text(key, v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = w.value(key, v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if strings.HasPrefix(k, "/") {
				k = w.path(k)
			}
			out[k] = w.value(k, x)
		}
		return out
	}
	return v
}

func (w *world) text(key, s string) string {
	switch {
	case strings.EqualFold(key, "location") && s != "" && !strings.EqualFold(s, "global"):
		return w.location
	case strings.EqualFold(key, "tenantId"):
		return w.tenant
	case strings.EqualFold(key, "principalId") && w.principal != "" && w.names[s] == "":
		return w.principal
	case strings.EqualFold(key, "principalType"):
		return "ServicePrincipal"
	case strings.HasPrefix(s, "/"):
		return w.path(s)
	}
	if n, ok := w.names[s]; ok {
		return n
	}
	if strings.HasPrefix(s, "https://") {
		return w.url(s)
	}
	return s
}

// url is a recorded address in this region: the host's first label may be the name of a resource.
func (w *world) url(s string) string {
	if n, ok := w.names[s]; ok { // a link that the region gave
		return n
	}
	host, path, _ := strings.Cut(strings.TrimPrefix(s, "https://"), "/")
	label, rest, _ := strings.Cut(host, ".")
	if n, ok := w.names[label]; ok {
		host = n + "." + rest
	}
	return "https://" + host + w.path("/"+path)
}

// learn notes what Azure and the region chose each for the same thing: later requests of a recording speak of it.
func (w *world) learn(azure, ours any) {
	switch a := azure.(type) {
	case map[string]any:
		o, _ := ours.(map[string]any)
		for k, v := range a {
			w.learn(v, o[k])
		}
	case []any:
		o, _ := ours.([]any)
		for i, v := range a {
			if j := counterpart(v, o, nil, i, ""); j >= 0 {
				w.learn(v, o[j])
			}
		}
	case string:
		if o, ok := ours.(string); ok && o != "" && w.text("", a) != o {
			w.note(a, o)
		}
	}
}

// chosen is what a service makes up, rather than a word of its language: identifiers, tokens, links.
var chosen = regexp.MustCompile(`^(https://|/)|^[0-9a-fA-F-]{32,36}$|^[A-Za-z0-9_=+/.-]{64,}$`)

func (w *world) note(azure, ours string) {
	if !chosen.MatchString(azure) {
		return
	}
	if host, rest, ok := strings.Cut(azure, ":443/"); ok && strings.HasPrefix(azure, "https://") {
		azure = host + "/" + rest // as a client asks for it
	}
	w.names[azure] = ours
	a, o := strings.Split(azure, "/"), strings.Split(ours, "/")
	if len(a) != len(o) {
		return
	}
	for i := range a {
		if w.text("", a[i]) != o[i] && chosen.MatchString(a[i]) {
			w.names[a[i]] = o[i]
		}
	}
}

// path is a recorded path or id in this region.
func (w *world) path(s string) string {
	s = subscriptionID.ReplaceAllString(s, "${1}"+w.subscription)
	path, query, has := strings.Cut(s, "?")
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if n, ok := w.names[p]; ok {
			parts[i] = n
		}
	}
	if s = strings.Join(parts, "/"); has {
		s += "?" + query
	}
	return s
}

// located gives a body a location when it has none: examples leave it out of what Azure refuses without it.
func (w *world) located(body any, id string) any {
	m, ok := body.(map[string]any)
	if _, has := m["location"]; !ok || has || parent(id) != "" {
		return body
	}
	m["location"] = w.location
	return m
}
