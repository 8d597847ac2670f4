package compute_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/network"
	"vauban.dev/provider/privatedns"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub   = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	group = sub + "/resourceGroups/rg"
	vnet  = group + "/providers/Microsoft.Network/virtualNetworks/vnet"
	nics  = group + "/providers/Microsoft.Network/networkInterfaces/"
	vms   = group + "/providers/Microsoft.Compute/virtualMachines/"
	zone  = group + "/providers/Microsoft.Network/privateDnsZones/corp.example"
	api   = "?api-version=2024-11-01"
	net   = "?api-version=2024-05-01"
	dns   = "?api-version=2020-06-01"
)

// rig is the network and the machines behind a door; processes are played.
type rig struct {
	*rptest.Region
	t        testing.TB
	provider *compute.Provider
	network  *network.Provider
	zones    *privatedns.Provider

	mu      sync.Mutex
	alive   map[string]compute.Machine
	started int
	disks   map[string]bool
	fail    error
}

type late struct{ r *rig }

func (l late) View(ctx context.Context, f func(*rp.Tx) error) error { return l.r.Engine.View(ctx, f) }
func (l late) Update(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.Update(ctx, f)
}
func (l late) Wake(id arm.ID) { l.r.Engine.Wake(id) }

type noTags struct{}

func (noTags) Prefixes(string) ([]netip.Prefix, bool) { return nil, false }

func (r *rig) Sync(context.Context) error { return nil }

func (r *rig) Start(_ context.Context, m compute.Machine) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.alive[m.ID], r.disks[m.ID] = m, true
	r.started++
	return nil
}

func (r *rig) Alive(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.alive[id]
	return ok
}

func (r *rig) Stop(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.alive, id)
	return nil
}

func (r *rig) Remove(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.alive, id)
	delete(r.disks, id)
	return nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, alive: map[string]compute.Machine{}, disks: map[string]bool{}}
	r.network = network.New(network.Config{Engine: late{r}, Targets: privatelink.New(), Sync: r, Tags: noTags{}, PublicPool: netip.MustParsePrefix("203.0.113.128/28")})
	r.zones = privatedns.New(privatedns.Config{Sync: r, VNetExists: network.VNetExists})
	r.provider = compute.New(compute.Config{Engine: late{r}, Sync: r, Launcher: r, Locations: []string{"westeurope", "westus"}})
	var regs []rp.Registration
	for _, types := range [][]rp.Registration{
		resources.New(resources.Tenant{ID: rptest.Owner.TenantID}, nil, &authz.Index{}).Types(), r.network.Types(), r.zones.Types(), r.provider.Types(),
	} {
		regs = append(regs, types...)
	}
	r.Region = rptest.New(t, rp.Config{Clock: new(clock.Region), Locations: []string{"westeurope", "northeurope", "global"}}, regs...)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test") }); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", group+api, `{"location":"westeurope"}`)
	r.Must("PUT", vnet+net, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.20.0.0/16"]},"subnets":[{"name":"jump","properties":{"addressPrefix":"10.20.1.0/24"}}]}}`)
	for _, name := range []string{"a", "b"} {
		r.Must("PUT", nics+name+net, `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"`+vnet+`/subnets/jump"}}}]}}`)
	}
	return r
}

const password = "Correct-Horse-7"

// machine is a body; edits are pairs of old and new text.
func machine(nic string, edits ...string) string {
	body := `{"location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_DS2_v2"},
		"storageProfile":{"imageReference":{"publisher":"Canonical","offer":"ubuntu-24_04-lts","sku":"server","version":"latest"},"osDisk":{"createOption":"FromImage"}},
		"osProfile":{"computerName":"jump","adminUsername":"azureuser","adminPassword":"` + password + `"},
		"networkProfile":{"networkInterfaces":[{"id":"` + nics + nic + `"}]}}}`
	return strings.NewReplacer(edits...).Replace(body)
}

func key(t *testing.T) string {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

func (r *rig) power(name string) string {
	r.t.Helper()
	list, _ := r.Must("GET", vms+name+"/instanceView"+api, "").At("statuses").([]any)
	if len(list) != 2 {
		r.t.Fatalf("statuses: %v", list)
	}
	s, _ := list[1].(map[string]any)["code"].(string)
	return s
}

func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not in time: %s", what)
		}
	}
}

func TestLife(t *testing.T) {
	r := newRig(t)
	made := r.Must("PUT", vms+"jump"+api, machine("a"))
	id := made.String("properties", "vmId")
	if id == "" || !r.Alive(id) {
		t.Fatalf("no process for %s", made.Text)
	}
	shown := r.Must("GET", vms+"jump"+api+"&$expand=instanceView", "")
	if shown.String("properties", "storageProfile", "imageReference", "publisher") != "Canonical" || shown.At("properties", "instanceView", "statuses") == nil {
		t.Errorf("shown: %s", shown.Text)
	}
	if plain := r.Must("GET", vms+"jump"+api, ""); plain.At("properties", "instanceView") != nil {
		t.Errorf("instanceView without $expand: %s", plain.Text)
	}
	nic := r.Must("GET", nics+"a"+net, "")
	if nic.String("properties", "virtualMachine", "id") != vms+"jump" || nic.At("properties", "primary") != true {
		t.Errorf("interface: %s", nic.Text)
	}
	if a := r.Request("DELETE", nics+"a"+net, ""); a.Code() != "NicInUse" {
		t.Errorf("interface deleted: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PUT", vms+"other"+api, machine("a")); a.Code() != "NicInUse" {
		t.Errorf("interface of another: %d %s", a.Status, a.Text)
	}
	for _, step := range []struct {
		action, power string
		alive         bool
	}{{"powerOff", "stopped", false}, {"start", "running", true}, {"restart", "running", true}, {"deallocate", "deallocated", false}, {"powerOff", "deallocated", false}, {"start", "running", true}} {
		r.Must("POST", vms+"jump/"+step.action+api, "")
		if got := r.power("jump"); got != "PowerState/"+step.power || r.Alive(id) != step.alive {
			t.Errorf("after %s: %s, alive %v", step.action, got, r.Alive(id))
		}
	}
	if r.started != 4 {
		t.Errorf("started %d times, want 4", r.started)
	}
	if !r.disks[id] {
		t.Error("the disk is gone")
	}
	r.Must("DELETE", vms+"jump"+api, "")
	if r.Alive(id) || r.disks[id] {
		t.Error("the deleted machine is still there")
	}
	if nic := r.Must("GET", nics+"a"+net, ""); nic.At("properties", "virtualMachine") != nil {
		t.Errorf("interface: %s", nic.Text)
	}
	r.Must("PUT", vms+"other"+api, machine("a"))
}

func TestRestartOfStopped(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", vms+"jump"+api, machine("a"))
	r.Must("POST", vms+"jump/deallocate"+api, "")
	if a := r.Request("POST", vms+"jump/restart"+api, ""); a.Status != http.StatusConflict || a.Code() != "OperationNotAllowed" {
		t.Errorf("restarted: %d %s", a.Status, a.Text)
	}
}

// TestSecret: the password is in no answer and not in the store; its hash opens.
func TestSecret(t *testing.T) {
	r := newRig(t)
	id := r.Must("PUT", vms+"jump"+api, machine("a")).String("properties", "vmId")
	for _, a := range []rptest.Answer{r.Must("GET", vms+"jump"+api, ""), r.Must("PATCH", vms+"jump"+api, `{"tags":{"a":"b"}}`), r.Must("GET", group+"/providers/Microsoft.Compute/virtualMachines"+api, "")} {
		if strings.Contains(a.Text, "adminPassword") || strings.Contains(a.Text, "$2a$") {
			t.Errorf("shown: %s", a.Text)
		}
	}
	hash := r.alive[id].PasswordHash
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil {
		t.Errorf("hash %q", hash)
	}
	err := r.Store.View(t.Context(), func(tx store.Tx) error {
		found := false
		err := tx.Scan("resource/microsoft.compute/virtualmachines", "", "", func(d store.Doc) bool {
			found = true
			if bytes.Contains(d.Value, []byte(password)) {
				t.Errorf("stored: %s", d.Value)
			}
			return true
		})
		if !found {
			t.Error("nothing was looked at")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReconciled: a process that ended comes back, also after a restart of the server; a stopped one stays away.
func TestReconciled(t *testing.T) {
	r := newRig(t)
	on := r.Must("PUT", vms+"on"+api, machine("a")).String("properties", "vmId")
	off := r.Must("PUT", vms+"off"+api, machine("b")).String("properties", "vmId")
	r.Must("POST", vms+"off/deallocate"+api, "")
	r.Region.Stop()
	r.mu.Lock()
	clear(r.alive)
	r.mu.Unlock()
	r.Region.Start()
	if err := r.provider.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.until("the machine runs again", func() bool { return r.Alive(on) })
	if r.Alive(off) {
		t.Error("the deallocated machine runs")
	}
}

// Templates pass one parameter, "adminPasswordOrKey", as the password and as the key: with keys alone, the password is
// neither judged nor kept.
func TestKeyGivenAsPassword(t *testing.T) {
	r := newRig(t)
	k := key(t)
	withKey := `"adminPassword":"` + k + `","linuxConfiguration":{"disablePasswordAuthentication":true,"ssh":{"publicKeys":[{"path":"/home/azureuser/.ssh/authorized_keys","keyData":"` + k + `"}]}}`
	a := r.Must("PUT", vms+"jump"+api, machine("a", `"adminPassword":"`+password+`"`, withKey))
	r.Wait(a)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.alive {
		if m.PasswordHash != "" || len(m.Keys) != 1 {
			t.Errorf("%+v", m)
		}
	}
	if len(r.alive) != 1 {
		t.Errorf("%d machines", len(r.alive))
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", vms+"jump"+api, machine("a"))
	k := key(t)
	withKey := func(path, data string) string {
		return `"linuxConfiguration":{"disablePasswordAuthentication":true,"ssh":{"publicKeys":[{"path":"` + path + `","keyData":"` + data + `"}]}}`
	}
	secret := `"adminPassword":"` + password + `"`
	for name, c := range map[string]struct{ body, code string }{
		"size":            {machine("b", "Standard_DS2_v2", "Standard_X1"), "InvalidParameter"},
		"no interface":    {machine("b", `{"id":"`+nics+`b"}`, ""), "InvalidParameter"},
		"missing nic":     {machine("none"), "InvalidResourceReference"},
		"other region":    {machine("b", "westeurope", "northeurope"), "InvalidResourceReference"},
		"two interfaces":  {machine("b", `{"id":"`+nics+`b"}`, `{"id":"`+nics+`b"},{"id":"`+nics+`a"}`), "NotImplemented"},
		"weak password":   {machine("b", password, "password"), "InvalidParameter"},
		"no password":     {machine("b", ","+secret, ""), "InvalidParameter"},
		"root":            {machine("b", "azureuser", "root"), "InvalidParameter"},
		"windows":         {machine("b", secret, secret+`,"windowsConfiguration":{}`), "NotImplemented"},
		"custom data":     {machine("b", secret, secret+`,"customData":"IyE="`), "NotImplemented"},
		"bad key":         {machine("b", secret, withKey("/home/azureuser/.ssh/authorized_keys", "ssh-rsa nothing")), "InvalidParameter"},
		"path of key":     {machine("b", secret, withKey("/root/.ssh/authorized_keys", k)), "InvalidParameter"},
		"data disk":       {machine("b", `"osDisk"`, `"dataDisks":[{"lun":0}],"osDisk"`), "NotImplemented"},
		"nobody's id":     {machine("b", nics+"b", "/subscriptions/x"), "InvalidParameter"},
		"no osProfile":    {machine("b", "osProfile", "osProfil"), "InvalidParameter"},
		"attached a disk": {machine("b", "FromImage", "Attach"), "NotImplemented"},
	} {
		if a := r.Request("PUT", vms+"new"+api, c.body); a.Code() != c.code {
			t.Errorf("%s: %d %s, want %s", name, a.Status, a.Text, c.code)
		}
	}
	for name, c := range map[string]struct{ body, code string }{
		"user":     {machine("a", "azureuser", "someone"), "PropertyChangeNotAllowed"},
		"password": {machine("a", password, "Another-Horse-7"), "PropertyChangeNotAllowed"},
		"nic":      {machine("b"), "NotImplemented"},
		"size":     {machine("a", ","+secret, "", "DS2_v2", "DS3_v2"), "NotImplemented"},
	} {
		if a := r.Request("PUT", vms+"jump"+api, c.body); a.Code() != c.code {
			t.Errorf("change of %s: %d %s, want %s", name, a.Status, a.Text, c.code)
		}
	}
	r.Deny(rptest.Owner, network.NICType+"/join/action", "no")
	if a := r.Request("PUT", vms+"new"+api, machine("b")); a.Code() != "LinkedAuthorizationFailed" {
		t.Errorf("without join: %d %s", a.Status, a.Text)
	}
}

// TestResize: a stopped machine takes another size, which it has when it starts.
func TestResize(t *testing.T) {
	r := newRig(t)
	id := r.Must("PUT", vms+"jump"+api, machine("a")).String("properties", "vmId")
	r.Must("POST", vms+"jump/deallocate"+api, "")
	r.Must("PATCH", vms+"jump"+api, `{"properties":{"hardwareProfile":{"vmSize":"Standard_DS3_v2"}}}`)
	r.Must("POST", vms+"jump/start"+api, "")
	if got := r.alive[id].Limits.CPUs; got != 4 {
		t.Errorf("%v processors", got)
	}
}

// TestNames: a machine is registered under its name, and no longer when it is gone.
func TestNames(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", zone+dns, `{"location":"global"}`)
	r.Must("PUT", zone+"/virtualNetworkLinks/l"+dns, `{"location":"global","properties":{"virtualNetwork":{"id":"`+vnet+`"},"registrationEnabled":true}}`)
	r.Must("PUT", vms+"Jump-1"+api, machine("a"))
	if err := r.network.TendZones(t.Context(), r.zones); err != nil {
		t.Fatal(err)
	}
	if a := r.Request("GET", zone+"/A/jump-1"+dns, ""); a.Status != http.StatusOK || !strings.Contains(a.Text, "10.20.1.4") {
		t.Errorf("record: %d %s", a.Status, a.Text)
	}
	r.Must("DELETE", vms+"Jump-1"+api, "")
	if err := r.network.TendZones(t.Context(), r.zones); err != nil {
		t.Fatal(err)
	}
	if a := r.Request("GET", zone+"/A/jump-1"+dns, ""); a.Status != http.StatusNotFound {
		t.Errorf("record: %d %s", a.Status, a.Text)
	}
}

// TestGroup: machine and interface go together with their group.
func TestGroup(t *testing.T) {
	r := newRig(t)
	id := r.Must("PUT", vms+"jump"+api, machine("a")).String("properties", "vmId")
	if a := r.Request("DELETE", group+api, ""); a.Status != http.StatusAccepted {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	r.until("the group is gone", func() bool { return r.Request("GET", group+api, "").Status == http.StatusNotFound })
	if r.Alive(id) || r.disks[id] {
		t.Error("the machine is still there")
	}
}

// TestNoStart: a machine that cannot be started says so, and starts when it can.
func TestNoStart(t *testing.T) {
	r := newRig(t)
	r.mu.Lock()
	r.fail = errors.New("no namespace")
	r.mu.Unlock()
	id := r.Request("PUT", vms+"jump"+api, machine("a")).String("properties", "vmId")
	if r.Alive(id) {
		t.Fatal("it runs")
	}
	r.mu.Lock()
	r.fail = nil
	r.mu.Unlock()
	r.until("it runs", func() bool { return r.Alive(id) })
}
