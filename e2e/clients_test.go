package e2e

import (
	"os"
	"path/filepath"
	"strings"
)

// clients is the folder of an environment of demo/setup.sh ("az", "sdk") that has its programs.
func (g *ground) clients(environment string) string {
	g.t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".cache", environment, "bin"))
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		g.t.Fatalf("the clients are not there, run sh demo/setup.sh: %v", err)
	}
	return dir
}

// clientScript runs a script of testdata/clients with args on the region's internet, by the unmodified clients of an environment:
// sh by bash, py by its Python. Its last word says that it came to its end.
func (g *ground) clientScript(environment, name, last string, args ...string) {
	g.t.Helper()
	script, err := filepath.Abs(filepath.Join("testdata", "clients", name))
	if err != nil {
		g.t.Fatal(err)
	}
	program := "bash"
	if filepath.Ext(name) == ".py" {
		program = "python"
	}
	cmd := g.with(g.t, "PATH="+g.clients(environment)+":"+bin+":"+os.Getenv("PATH")).command(append([]string{"exec", "--", program, script}, args...)...)
	if out, err := g.output(cmd); err != nil || !strings.HasSuffix(strings.TrimSpace(out), last) {
		g.t.Errorf("%s: %v\n%s", name, err, out)
	}
}
