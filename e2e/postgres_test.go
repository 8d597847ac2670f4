package e2e

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vauban.dev/region"
	"vauban.dev/store/postgres/pgtest"
)

// TestPostgres: a region whose state is in PostgreSQL, reached by TCP with a password from where the region has no way. It stands as before when its server is killed and when the
// database is; without the database for longer than its lease the server ends and says so, and goes on when it is back.
func TestPostgres(t *testing.T) {
	const password = "correct horse battery staple"
	db, err := pgtest.StartTCP(password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) // at the end the region is down
	g := newGround(t, nil)
	g.env = append(g.env, "PGPASSWORD="+password)
	if out, err := g.command("up", "-d", "--store", strings.Replace(db.TCP("public"), "vauban@", "vauban:"+"x@", 1)).CombinedOutput(); err == nil || !strings.Contains(string(out), "PGPASSWORD") {
		t.Errorf("a password on the command line: %v, %s", err, out)
	}
	g.up("--store", db.TCP("public"))
	g.secured()
	if contents(filepath.Join(g.dir, "state.db")) != "" {
		t.Error("there is a state.db beside the database")
	}
	g.reaches("hub/training", "tcp", "198.51.100.80:443", "dropped")

	g.kill()
	g.up()
	g.reaches("hub/training", "tcp", "198.51.100.80:443", "dropped")

	group := "/subscriptions/" + g.sub + "/resourceGroups/"
	create := func(name string) int {
		a, err := g.do(t.Context(), request{Method: http.MethodPut, URL: "https://management.azure.com" + group + name + "?api-version=2024-11-01", Body: strings.NewReader(`{"location":"westeurope"}`)})
		if err != nil {
			t.Fatal(err)
		}
		return a.Status
	}
	if s := create("before"); s != http.StatusCreated {
		t.Fatalf("a group: %d", s)
	}
	if err := db.Restart(); err != nil {
		t.Fatal(err)
	}
	g.eventually("the region writes again", func() bool { s := create("after"); return s == http.StatusCreated || s == http.StatusOK })

	if err := db.Kill(); err != nil {
		t.Fatal(err)
	}
	g.eventually("the server ends without its database", func() bool { return g.status().State == region.Held })
	g.http.CloseIdleConnections()
	if log := contents(filepath.Join(g.dir, "server.log")); !strings.Contains(log, "lost its database") {
		t.Errorf("the log does not say why:\n%s", tail([]byte(log), 2000))
	}
	if err := db.Again(); err != nil {
		t.Fatal(err)
	}
	g.up()
	for _, name := range []string{"before", "after"} {
		if s := create(name); s != http.StatusOK {
			t.Errorf("group %s: %d, want it to be there", name, s)
		}
	}

	if out, _ := exec.Command("ps", "-ef", "ww").Output(); strings.Contains(string(out), password) {
		t.Error("the password is in the list of processes")
	}
	other := newGround(t, nil)
	other.env = g.env
	if out, err := other.command("up", "-d", "--store", db.TCP("public")).CombinedOutput(); err == nil || !strings.Contains(string(out), "another region") {
		t.Errorf("another data directory with the same database: %v, %s", err, out)
	}
}
