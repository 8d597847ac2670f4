package deploymentscripts

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

const maxTail = 1000 // lines

// showLog is the one log of a script (DeploymentScripts REST: ScriptLog).
func (p *Provider) showLog(tx *rp.Tx, path map[string]string, tail int) (map[string]any, error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + Type + "/" + path["script"])
	if err != nil {
		return nil, err
	}
	r, err := rp.Get[Script](tx, id)
	if err != nil {
		return nil, err
	}
	b, err := p.cfg.Launcher.Log(r.Properties.Run.ID)
	if err != nil {
		return nil, err
	}
	if tail > 0 {
		b = lastOf(b, tail)
	}
	return map[string]any{"id": r.ID.String() + "/logs/default", "name": "default", "type": Type + "/logs", "properties": map[string]any{"log": strings.ToValidUTF8(string(b), "\uFFFD")}}, nil
}

// lastOf are the last n lines.
func lastOf(b []byte, n int) []byte {
	end := len(bytes.TrimSuffix(b, []byte("\n")))
	for i := end - 1; i >= 0; i-- {
		if b[i] == '\n' {
			if n--; n == 0 {
				return b[i+1:]
			}
		}
	}
	return b
}

func (p *Provider) logs(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	log, err := p.showLog(tx, path, 0)
	if err != nil {
		return nil, err
	}
	return map[string]any{"value": []any{log}}, nil
}

func (p *Provider) log(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	if !strings.EqualFold(path["log"], "default") {
		return nil, arm.Errorf(http.StatusNotFound, "DeploymentScriptLogNotFound", "The deployment script '%s' has no log '%s': its log is default.", path["script"], clip(path["log"]))
	}
	tail := 0
	if text := query["tail"]; text != "" {
		var err error
		if tail, err = strconv.Atoi(text); err != nil || tail < 1 || tail > maxTail {
			return nil, invalid("tail '%s' is not a positive number up to %d.", clip(text), maxTail)
		}
	}
	return p.showLog(tx, path, tail)
}
