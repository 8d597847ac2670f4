//go:build clients

package e2e

import "testing"

// TestMLflowClients tracks runs, models and the registry with unmodified MLflow 2 and 3 and Azure's plugin, in one workspace;
// with MLflow 3 also logged models and traces.
func TestMLflowClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.names()
	w.put(w.group, vResources, obj{"location": location})
	w.services("Enabled")
	uri := w.text(w.settled(w.workspace, vML), "properties.mlFlowTrackingUri")
	for _, environment := range []string{"mlflow", "mlflow2"} {
		t.Run(environment, func(t *testing.T) { g.with(t).clientScript(environment, "mlflow.py", "tracked", uri) })
	}
}
