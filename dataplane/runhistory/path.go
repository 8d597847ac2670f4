package runhistory

import (
	"net"
	"net/url"
	"strings"

	"vauban.dev/arm"
)

// target is what a path names: /{service}/{version}{workspace id}/{rest}.
type target struct {
	service   string // history, artifact, metric, mlflow …, in lower case
	version   string // v1.0, v2.0
	workspace arm.ID
	rest      []string // decoded segments after the workspace
}

const (
	workspaceSegments = 8 // subscriptions/S/resourceGroups/G/providers/NS/workspaces/W
	maxPath           = 8 << 10
)

// parsePath reads an escaped path; ok is false when it does not name a workspace. Some clients put
// "workspaces" before the id (azureml-core's compute reads), which is dropped.
func parsePath(escaped string) (t target, ok bool) {
	if len(escaped) > maxPath || !strings.HasPrefix(escaped, "/") {
		return target{}, false
	}
	segs := strings.Split(strings.TrimSuffix(escaped[1:], "/"), "/")
	for i, s := range segs {
		u, err := url.PathUnescape(s)
		if err != nil || u == "" || strings.ContainsRune(u, 0) {
			return target{}, false
		}
		segs[i] = u
	}
	if len(segs) < 2 {
		return target{}, false
	}
	t.service = strings.ToLower(segs[0])
	segs = segs[1:]
	if v := strings.ToLower(segs[0]); len(v) > 1 && v[0] == 'v' && v[1] >= '0' && v[1] <= '9' {
		t.version, segs = v, segs[1:]
	}
	if len(segs) > 0 && strings.EqualFold(segs[0], "workspaces") {
		segs = segs[1:]
	}
	if len(segs) < workspaceSegments {
		return target{}, false
	}
	id, err := arm.ParseID("/" + strings.Join(segs[:workspaceSegments], "/"))
	if err != nil || !strings.EqualFold(id.Type().String(), workspaceType) {
		return target{}, false
	}
	t.workspace, t.rest = id, segs[workspaceSegments:]
	return t, true
}

const workspaceType = "Microsoft.MachineLearningServices/workspaces"

// place is what a host name says: a region, or one workspace of it.
type place struct {
	host     string // without port, lower case
	guid     string // "" on a region's host
	location string
}

// parseHost reads {region}.api… and {guid}.workspace.{region}[.cert].api….
func parseHost(host, suffix string) (p place, ok bool) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	p.host = strings.TrimSuffix(strings.ToLower(host), ".")
	name, ok := strings.CutSuffix(p.host, suffix)
	if !ok {
		return place{}, false
	}
	name = strings.TrimSuffix(name, ".cert")
	if guid, region, own := strings.Cut(name, ".workspace."); own {
		p.guid, name = guid, region
		if guid == "" || strings.Contains(guid, ".") {
			return place{}, false
		}
	}
	p.location = name
	return p, name != "" && !strings.Contains(name, ".")
}
