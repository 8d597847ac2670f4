package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An ask is one request of the table, and what came of it.
type ask struct {
	Service, Proof string // its column
	URL            string
	Header         map[string]string
	// Of the answer.
	Status  int
	Code    string
	Message string
	Failed  string // no answer: why
}

// asksProgram makes the requests that stdin lists, each over a connection of its own, and prints them with their answers.
func asksProgram([]string) int {
	var asks []ask
	if err := json.NewDecoder(os.Stdin).Decode(&asks); err != nil {
		fmt.Fprintln(os.Stderr, "asks:", err)
		return 1
	}
	for i := range asks {
		asks[i].make()
	}
	if json.NewEncoder(os.Stdout).Encode(asks) != nil {
		return 1
	}
	return 0
}

func (a *ask) make() {
	c, err := newClient(wire{}, credentials{})
	if err != nil {
		a.Failed = err.Error()
		return
	}
	defer c.http.CloseIdleConnections()
	q, err := http.NewRequest(http.MethodGet, a.URL, nil)
	if err != nil {
		a.Failed = err.Error()
		return
	}
	for k, v := range a.Header {
		q.Header.Set(k, v)
	}
	got, err := c.send(q)
	if err != nil {
		a.Failed = err.Error()
		return
	}
	a.Status, a.Code, a.Message = got.Status, got.Code, got.Message
	if got.Inner != "" {
		a.Code = got.Inner
	}
	if code := got.Header.Get("X-Ms-Error-Code"); a.Code == "" && code != "" { // of tables, whose errors are OData's
		a.Code, a.Message = code, string(got.Body)
	}
}

// word is the answer in the table.
func (a *ask) word() string {
	switch {
	case a.Failed != "":
		return a.Failed
	case a.Status < 300:
		return "✓"
	case a.Code == "":
		return fmt.Sprint(a.Status)
	}
	return fmt.Sprintf("%d %s", a.Status, a.Code)
}

// asks makes the requests at a place.
func (g *ground) asks(place string, asks []ask) []ask {
	g.t.Helper()
	in, err := json.Marshal(asks)
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := g.at(place, "asks")
	cmd.Stdin = bytes.NewReader(in)
	out, err := g.output(cmd)
	var answers []ask
	if err == nil {
		err = json.Unmarshal([]byte(out), &answers)
	}
	if err != nil || len(answers) != len(asks) {
		g.t.Fatalf("requests at %s: %v %s", place, err, out)
	}
	return answers
}

// The columns of the table: what a request proves who it is from with.
const (
	withKey     = "key"
	withSAS     = "SAS"
	withRole    = "token with role"
	withoutRole = "token without"
	withNothing = "none"
)

var proofs = []string{withKey, withSAS, withRole, withoutRole, withNothing}

// accessService is a data plane of the table.
type accessService struct {
	name, audience, list string
	// role is a built-in one that lists, and scope where it is given.
	role  string
	scope func(*world) string
	vault bool
}

func storageService(name, list, role string) accessService {
	return accessService{name: name, audience: "https://storage.azure.com", list: "https://" + accountName + "." + name + ".core.windows.net" + list,
		role: role, scope: func(w *world) string { return w.account }}
}

var accessServices = []accessService{
	storageService("blob", "/data?restype=container&comp=list", roleBlobReader),
	storageService("file", "/?comp=list", "acdd72a7-3385-48ef-bd42-f606fba81ae7"), // Reader: shares are listed by the plane of control
	storageService("queue", "/?comp=list", "19e7f393-937e-4f77-808e-94535e297925"),
	storageService("table", "/Tables", "76199698-9eea-4c19-bc75-cec21354c6b6"),
	{name: "vault", audience: "https://vault.azure.net", list: "https://" + vaultName + ".vault.azure.net/secrets?api-version=7.4", vault: true,
		role: roleSecrets, scope: func(w *world) string { return w.vault }},
}

// proofsOf are those that the service knows.
func (s accessService) proofs() []string {
	if s.vault {
		return proofs[2:]
	}
	return proofs
}

// The rows: from where a request comes.
const (
	fromAllowed  = "internet, an address of a rule"
	fromStranger = "internet, another address"
	fromSubnet   = "subnet of a rule, by its service endpoint"
	fromNeighbor = "another subnet, by its service endpoint"
	fromEndpoint = "private endpoint"
	fromInstance = "resource instance of a rule, another address"
)

var accessOrigins = []struct{ title, place string }{
	{fromAllowed, "internet"},
	{fromStranger, "other/plain"},
	{fromSubnet, "other/default"},
	{fromNeighbor, "other/second"},
	{fromEndpoint, "hub/jumpbox"},
	{fromInstance, "other/plain"},
}

const (
	settingPublic   = "Enabled from all networks"
	settingSelected = "Enabled from selected networks"
	settingDenied   = "Disabled"
)

// admitted is what Azure's documents say of the network's part, written from where the caller is: "Configure Azure
// Storage firewalls and virtual networks", "Network security for Azure Key Vault".
func (s accessService) admitted(setting, from string) bool {
	switch from {
	case fromEndpoint:
		return true
	case fromAllowed, fromSubnet:
		return setting != settingDenied
	case fromInstance:
		return setting == settingPublic || !s.vault // vaults know no resource instances
	}
	return setting == settingPublic
}

// want is the cell: the first rule that refuses, by Azure's code.
func (s accessService) want(setting, from, proof string) string {
	byIdentity := proof == withRole || proof == withoutRole
	open := s.admitted(setting, from)
	if from == fromInstance && !byIdentity { // nothing else says who it is
		open = s.admitted(setting, fromStranger)
	}
	switch {
	case !open && s.vault && setting == settingDenied:
		return "403 ForbiddenByConnection"
	case !open && s.vault:
		return "403 ForbiddenByFirewall"
	case !open:
		return "403 AuthorizationFailure"
	case proof == withoutRole && s.vault:
		return "403 ForbiddenByRbac"
	case proof == withoutRole:
		return "403 AuthorizationPermissionMismatch"
	case proof == withNothing && s.vault:
		return "401 Unauthorized"
	case proof == withNothing && s.name == "blob":
		return "409 PublicAccessNotPermitted" // allowBlobPublicAccess is false
	case proof == withNothing:
		return "401 NoAuthenticationInformation"
	}
	return "✓"
}

// TestAccess: every network setting, from everywhere, with everything that proves who asks: each cell of the table is
// one real connection from a real network, and its refusal is that of the first rule that refuses.
func TestAccess(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	w.services("Enabled")
	w.endpoints()
	x := newAccess(w)
	var rows, trusted strings.Builder
	for _, setting := range []string{settingPublic, settingSelected, settingDenied} {
		x.set(setting, "None")
		x.measure(t, &rows, setting)
		x.capture(t, &trusted, setting, "None")
		x.set(setting, "AzureServices")
		x.capture(t, &trusted, setting, "AzureServices")
	}
	page := accessPage(rows.String(), trusted.String())
	if *updateAccess && !t.Failed() {
		if err := os.WriteFile(accessFile, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old := contents(accessFile); old != page {
		t.Errorf("%s is not what was measured (-update-access writes it):\n%s", accessFile, cmp.Diff(old, page))
	}
}

const accessFile = "../docs/access.md"

var updateAccess = flag.Bool("update-access", false, "write what was measured to "+accessFile)

// accessPage is the tables with their heads.
func accessPage(rows, trusted string) string {
	var b strings.Builder
	b.WriteString(`# Who gets in

Written by ` + "`go test ./e2e -run TestAccess -update-access`" + `, which CI runs without the flag: each cell is one real connection from a
real network of a region, with one kind of proof of who asks. ✓ is an answer; else status and Azure's code of the refusal.
The expectation is in e2e/access_test.go, written from Azure's documents and not from the code.

| publicNetworkAccess | from |`)
	line := "|---|---|"
	for _, s := range accessServices {
		for _, proof := range s.proofs() {
			fmt.Fprintf(&b, " %s, %s |", s.name, proof)
			line += "---|"
		}
	}
	b.WriteString("\n" + line + "\n" + rows + `
A trusted service is the region itself: no header, address or token makes one. Here Network Watcher writes a packet capture
into the account.

| publicNetworkAccess | networkAcls.bypass | packet capture |
|---|---|---|
` + trusted)
	return b.String()
}

// access is what the table's requests are made with.
type access struct {
	*world
	instance string // resource id that a rule names
	key      []byte
	address  string            // of the internet's place
	tokens   map[string]string // by audience and column; of the instance's identity behind "instance "
	oid      string            // of the instance's identity
}

func newAccess(w *world) *access {
	x := &access{world: w, tokens: map[string]string{}}
	other := path.Dir(w.vnet) + "/other"
	services := []obj{{"service": "Microsoft.Storage"}, {"service": "Microsoft.KeyVault"}}
	w.put(other, vNetwork, obj{"location": location, "properties": obj{
		"addressSpace": obj{"addressPrefixes": []string{"10.30.0.0/16"}},
		"subnets": []obj{
			{"name": "default", "properties": obj{"addressPrefix": "10.30.0.0/24", "defaultOutboundAccess": true, "serviceEndpoints": services}},
			{"name": "second", "properties": obj{"addressPrefix": "10.30.1.0/24", "defaultOutboundAccess": true, "serviceEndpoints": services}},
			{"name": "plain", "properties": obj{"addressPrefix": "10.30.2.0/24", "defaultOutboundAccess": true}}}}})
	for _, name := range []string{"file", "queue", "table"} {
		w.endpoint("pe-"+name, w.account, name, "privatelink."+name+".core.windows.net")
	}
	w.nodesAs("SystemAssigned, UserAssigned", 1, 1)
	x.instance = w.cluster
	cluster := w.settled(w.cluster, vML)
	x.oid = w.text(cluster, "identity.principalId")
	x.address = strings.TrimSpace(w.vauban("exec", "--", "probe", "address"))
	var keys struct {
		Keys []struct{ Value []byte }
	}
	if a := w.send(request{Method: "POST", URL: w.account + "/listKeys?api-version=" + vStorage}); a.json(&keys) != nil || len(keys.Keys) == 0 {
		w.t.Fatalf("listKeys: %s", a)
	}
	x.key = keys.Keys[0].Value
	for _, s := range accessServices {
		own, err := w.token(w.t.Context(), s.audience)
		if err != nil {
			w.t.Fatal(err)
		}
		x.tokens[s.audience+withRole], x.tokens[s.audience+withoutRole] = own, w.nodeToken(s.audience)
		x.tokens[s.audience+fromInstance] = w.metadataToken(s.audience, "")
	}
	return x
}

// set changes what all services say of public access.
func (x *access) set(setting, bypass string) {
	x.t.Helper()
	public, action := "Enabled", "Deny"
	switch setting {
	case settingPublic:
		action = "Allow"
	case settingDenied:
		public = "Disabled"
	}
	subnet := path.Dir(x.vnet) + "/other/subnets/default"
	account := closedAccount()
	account["properties"].(obj)["publicNetworkAccess"] = public
	account["properties"].(obj)["networkAcls"] = obj{"defaultAction": action, "bypass": bypass, "ipRules": []obj{{"value": x.address}},
		"virtualNetworkRules": []obj{{"id": subnet}}, "resourceAccessRules": []obj{{"tenantId": x.tenant, "resourceId": x.instance}}}
	x.put(x.account, vStorage, account)
	x.put(x.vault, vVault, obj{"location": location, "properties": obj{
		"tenantId": x.tenant, "sku": obj{"family": "A", "name": "standard"}, "enableRbacAuthorization": true, "publicNetworkAccess": public, "accessPolicies": []any{},
		"networkAcls": obj{"defaultAction": action, "bypass": bypass, "ipRules": []obj{{"value": x.address}}, "virtualNetworkRules": []obj{{"id": subnet}}}}})
}

// measure writes the rows of a setting.
func (x *access) measure(t *testing.T, table *strings.Builder, setting string) {
	t.Helper()
	for _, from := range accessOrigins {
		var asks []ask
		for _, s := range accessServices {
			for _, proof := range s.proofs() {
				asks = append(asks, x.ask(s, from.title, proof))
			}
		}
		if from.title != fromInstance {
			asks = x.asks(from.place, asks)
		} else { // the same identity, before it has a role and with it
			has := func(a ask, proof string) bool { return a.Proof == proof }
			asks = slices.Concat(x.asks(from.place, slices.DeleteFunc(slices.Clone(asks), func(a ask) bool { return has(a, withRole) })),
				x.withRole(func() []ask {
					return x.asks(from.place, slices.DeleteFunc(slices.Clone(asks), func(a ask) bool { return !has(a, withRole) }))
				}))
		}
		fmt.Fprintf(table, "| %s | %s |", setting, from.title)
		for _, s := range accessServices {
			for _, proof := range s.proofs() {
				i := slices.IndexFunc(asks, func(a ask) bool { return a.Service == s.name && a.Proof == proof })
				got := asks[i].word()
				if want := s.want(setting, from.title, proof); got != want {
					t.Errorf("%s, %s, %s, %s: %s, want %s (%s)", setting, from.title, s.name, proof, got, want, asks[i].Message)
				}
				fmt.Fprintf(table, " %s |", got)
			}
		}
		table.WriteByte('\n')
	}
}

// capture lets Network Watcher, a trusted service, write into the account ("Trusted access based on a managed identity":
// what the platform writes passes by networkAcls.bypass, without public access too).
func (x *access) capture(t *testing.T, table *strings.Builder, setting, bypass string) {
	t.Helper()
	id := x.watcher() + "/packetCaptures/c"
	nic := x.group + "/providers/Microsoft.Network/networkInterfaces/server"
	x.put(nic, vNetwork, obj{"location": location, "properties": obj{"ipConfigurations": []obj{{"name": "c", "properties": obj{"subnet": obj{"id": x.vnet + "/subnets/jumpbox"}}}}}})
	x.put(id, vNetwork, obj{"properties": obj{"target": nic, "storageLocation": obj{"storageId": x.account}}})
	if a := x.send(request{Method: "POST", URL: id + "/stop?api-version=" + vNetwork}); !a.ok() {
		t.Fatalf("stop: %s", a)
	}
	got := ""
	x.eventually("the capture ends", func() bool {
		a := x.send(request{Method: "POST", URL: id + "/queryStatus?api-version=" + vNetwork})
		var s obj
		if err := a.json(&s); err != nil {
			t.Fatal(err)
		}
		got = x.text(s, "packetCaptureStatus")
		return got != "Running"
	})
	x.gone(id, vNetwork)
	want := "Error"
	if setting == settingPublic || bypass == "AzureServices" {
		want = "Stopped"
	}
	if got != want {
		t.Errorf("%s, bypass %s: a capture is %s, want %s", setting, bypass, got, want)
	}
	fmt.Fprintf(table, "| %s | %s | %s |\n", setting, bypass, map[string]string{"Stopped": "✓", "Error": "refused"}[got])
}

// withRole runs f while the instance's identity has its roles.
func (x *access) withRole(f func() []ask) []ask {
	x.t.Helper()
	for _, s := range accessServices {
		x.grant(x.oid, s.role, s.scope(x.world))
		defer x.gone(assignment(x.oid, s.role, s.scope(x.world)), vRoles)
	}
	return f()
}

// ask is a listing with a proof.
func (x *access) ask(s accessService, from, proof string) ask {
	a := ask{Service: s.name, Proof: proof, URL: s.list, Header: map[string]string{"x-ms-version": "2023-11-03", "Accept": "application/json"}}
	if proof == withRole || proof == withoutRole {
		a.Header["x-ms-file-request-intent"] = "backup" // tokens for files say it
	}
	switch {
	case proof == withKey:
		a.Header["x-ms-date"] = time.Now().UTC().Format(http.TimeFormat)
		a.Header["Authorization"] = "SharedKey " + accountName + ":" + x.sign(s.sharedKey(a))
	case proof == withSAS:
		a.URL += map[bool]string{true: "&", false: "?"}[strings.Contains(a.URL, "?")] + x.accountSAS()
	case proof != withNothing && from == fromInstance:
		a.Header["Authorization"] = "Bearer " + x.tokens[s.audience+fromInstance]
	case proof != withNothing:
		a.Header["Authorization"] = "Bearer " + x.tokens[s.audience+proof]
	}
	return a
}

func (x *access) sign(text string) string {
	m := hmac.New(sha256.New, x.key)
	m.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// sharedKey is the string to sign of a GET without a body ("Authorize with Shared Key").
func (s accessService) sharedKey(a ask) string {
	u, err := url.Parse(a.URL)
	if err != nil {
		return ""
	}
	if s.name == "table" {
		return "GET\n\n\n" + a.Header["x-ms-date"] + "\n/" + accountName + u.Path
	}
	text := "GET" + strings.Repeat("\n", 12) + "x-ms-date:" + a.Header["x-ms-date"] + "\nx-ms-version:" + a.Header["x-ms-version"] + "\n/" + accountName + u.Path
	query := u.Query()
	for _, k := range slices.Sorted(maps.Keys(query)) {
		text += "\n" + strings.ToLower(k) + ":" + query.Get(k)
	}
	return text
}

// accountSAS is what lists everything of the account for an hour ("Create an account SAS").
func (x *access) accountSAS() string {
	expiry := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	const permissions, services, types, version = "rl", "bfqt", "sco", "2022-11-02"
	text := strings.Join([]string{accountName, permissions, services, types, "", expiry, "", "", version, "", ""}, "\n")
	return url.Values{"sv": {version}, "ss": {services}, "srt": {types}, "sp": {permissions}, "se": {expiry}, "sig": {x.sign(text)}}.Encode()
}
