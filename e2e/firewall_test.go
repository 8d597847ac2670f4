package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guarded is a network whose work subnet reaches everything through a firewall, and asks it for names.
type guarded struct {
	*ground
	group, net, firewall, policy string
	address                      string // the firewall's
}

const (
	mine  = "e2emine.blob.core.windows.net"
	other = "e2eother.blob.core.windows.net"
)

// guard makes it, with a policy of the tier and these further properties.
func (g *ground) guard(tier string, more obj) *guarded {
	g.t.Helper()
	w := &guarded{ground: g, group: "/subscriptions/" + g.sub + "/resourceGroups/guarded"}
	w.net = w.group + "/providers/Microsoft.Network/"
	w.firewall, w.policy = w.net+"azureFirewalls/fw", w.net+"firewallPolicies/policy"
	g.put(w.group, vResources, obj{"location": location})
	properties := obj{"sku": obj{"tier": tier}, "dnsSettings": obj{"enableProxy": true}}
	policy := obj{"location": location, "properties": properties}
	for k, v := range more {
		if k == "identity" {
			policy[k] = v
		} else {
			properties[k] = v
		}
	}
	g.put(w.policy, vNetwork, policy)
	vnet := w.net + "virtualNetworks/guarded"
	g.put(vnet, vNetwork, obj{"location": location, "properties": obj{"addressSpace": obj{"addressPrefixes": []string{"10.40.0.0/16"}}, "subnets": []obj{
		{"name": "AzureFirewallSubnet", "properties": obj{"addressPrefix": "10.40.0.0/26"}},
		{"name": "work", "properties": obj{"addressPrefix": "10.40.1.0/24"}},
		{"name": "data", "properties": obj{"addressPrefix": "10.40.2.0/24"}}}}})
	g.put(w.net+"publicIPAddresses/out", vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{"publicIPAllocationMethod": "Static"}})
	fw := g.put(w.firewall, vNetwork, obj{"location": location, "properties": obj{"sku": obj{"name": "AZFW_VNet", "tier": tier}, "firewallPolicy": obj{"id": w.policy},
		"ipConfigurations": []obj{{"name": "c", "properties": obj{"subnet": obj{"id": vnet + "/subnets/AzureFirewallSubnet"}, "publicIPAddress": obj{"id": w.net + "publicIPAddresses/out"}}}}}})
	w.address = property(property(fw, "properties").(obj)["ipConfigurations"].([]any)[0], "properties.privateIPAddress").(string)
	for table, prefixes := range map[string][]string{"work": {"0.0.0.0/0", "10.40.2.0/24"}, "data": {"10.40.1.0/24"}} {
		routes := []obj{}
		for _, p := range prefixes {
			routes = append(routes, obj{"name": strings.NewReplacer(".", "-", "/", "-").Replace(p), "properties": obj{"addressPrefix": p, "nextHopType": "VirtualAppliance", "nextHopIpAddress": w.address}})
		}
		g.put(w.net+"routeTables/"+table, vNetwork, obj{"location": location, "properties": obj{"routes": routes}})
	}
	g.put(vnet, vNetwork, obj{"location": location, "properties": obj{"addressSpace": obj{"addressPrefixes": []string{"10.40.0.0/16"}}, "dhcpOptions": obj{"dnsServers": []string{w.address}}, "subnets": []obj{
		{"name": "AzureFirewallSubnet", "properties": obj{"addressPrefix": "10.40.0.0/26"}},
		{"name": "work", "properties": obj{"addressPrefix": "10.40.1.0/24", "routeTable": obj{"id": w.net + "routeTables/work"}}},
		{"name": "data", "properties": obj{"addressPrefix": "10.40.2.0/24", "routeTable": obj{"id": w.net + "routeTables/data"}}}}}})
	for _, host := range []string{mine, other} {
		name, _, _ := strings.Cut(host, ".")
		g.put(w.group+"/providers/Microsoft.Storage/storageAccounts/"+name, vStorage, obj{"location": location, "kind": "StorageV2", "sku": obj{"name": "Standard_LRS"}})
	}
	return w
}

// rules writes the policy's only rule collection group.
func (w *guarded) rules(collections ...obj) {
	w.t.Helper()
	w.put(w.policy+"/ruleCollectionGroups/rules", vNetwork, obj{"properties": obj{"priority": 200, "ruleCollections": collections}})
}

func collection(name string, priority int, rules ...obj) obj {
	return obj{"ruleCollectionType": "FirewallPolicyFilterRuleCollection", "name": name, "priority": priority, "action": obj{"type": "Allow"}, "rules": rules}
}

func application(name string, more obj) obj {
	r := obj{"ruleType": "ApplicationRule", "name": name, "sourceAddresses": []string{"10.40.1.0/24"}, "protocols": []obj{{"protocolType": "Https", "port": 443}}}
	for k, v := range more {
		r[k] = v
	}
	return r
}

// logged tells whether the firewall's log has a record with these columns.
func (w *guarded) logged(want obj) bool {
	w.t.Helper()
	for line := range strings.Lines(w.vauban("firewall", "log", "--json", "-n", "500", "--firewall", "fw")) {
		var rec obj
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			w.t.Fatal(err)
		}
		same := true
		for k, v := range want {
			text, _ := rec[k].(string)
			same = same && strings.Contains(text, v.(string))
		}
		if same {
			return true
		}
	}
	return false
}

// resetFrom asks a URL from the work subnet and wants the firewall to reset the connection.
func (w *guarded) resetFrom(args ...string) {
	w.t.Helper()
	if a, err := w.sendFrom("guarded/work", append([]string{"-token", "-"}, args...)...); err == nil || !strings.Contains(err.Error(), "reset") {
		w.t.Errorf("%v: %v %v, want a reset", args, a, err)
	}
}

// TestAzureFirewall: one account's host is let through by name, and nothing else, whatever a client does about names and
// addresses; what is no HTTP goes by network rules; the log and explain say which rule decided.
func TestAzureFirewall(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.guard("Standard", nil)
	apps := collection("storage", 200, application("mine", obj{"targetFqdns": []string{mine}}))
	w.rules(apps)
	if got := g.resolved("guarded/work", mine); got == "" {
		t.Fatal("the DNS proxy does not answer")
	}
	if a, err := w.sendFrom("guarded/work", "-token", "-", "GET", "https://"+mine+"/?comp=list"); err != nil || a.Status != 401 && a.Status != 403 && a.Status != 409 {
		t.Errorf("the allowed host: %v %v", a, err)
	}
	address := g.resolved("guarded/work", mine)
	w.resetFrom("GET", "https://"+other+"/?comp=list")
	w.resetFrom("GET", "https://management.azure.com/subscriptions?api-version=2022-12-01")
	w.resetFrom("-dial", net.JoinHostPort(address, "443"), "-sni", other, "GET", "https://"+mine+"/?comp=list") // the name in the handshake
	w.resetFrom("-dial", net.JoinHostPort(address, "443"), "-sni", "", "GET", "https://"+address+"/")           // and none
	// The client's idea of the address does not count.
	if a, err := w.sendFrom("guarded/work", "-token", "-", "-dial", "20.60.99.99:443", "GET", "https://"+mine+"/?comp=list"); err != nil || a.Status >= 500 {
		t.Errorf("the allowed host at another address: %v %v", a, err)
	}
	for _, want := range []obj{
		{"Category": "AZFWApplicationRule", "Fqdn": mine, "Action": "Allow", "RuleCollectionGroup": "rules", "RuleCollection": "storage", "Rule": "mine", "Policy": w.policy},
		{"Category": "AZFWApplicationRule", "Fqdn": other, "Action": "Deny", "ActionReason": "Default Action"},
		{"Category": "AZFWApplicationRule", "Action": "Deny", "ActionReason": "names no server"},
		{"Category": "AZFWDnsQuery", "QueryName": mine},
	} {
		if !w.logged(want) {
			t.Errorf("the log has no record with %v", want)
		}
	}
	for host, want := range map[string]string{mine: "rule mine of rule collection storage in rule collection group rules", other: "no rule matched"} {
		out, _ := g.output(g.command("explain", "--from", "guarded/work", "--to", host+":443"))
		if !strings.Contains(out, want) || strings.HasPrefix(out, "ALLOWED") != (host == mine) {
			t.Errorf("explain %s says not %q:\n%s", host, want, out)
		}
	}

	echo := g.serve("guarded/data")
	_, port, _ := net.SplitHostPort(echo.addr)
	// What speaks neither TLS nor HTTP is no case for application rules (specification 004, line 129).
	g.reaches("guarded/work", "udp", echo.addr, "dropped")
	zone := w.net + "privateDnsZones/corp.example"
	g.put(zone, "2020-06-01", obj{"location": "global"})
	g.put(zone+"/virtualNetworkLinks/l", "2020-06-01", obj{"location": "global", "properties": obj{"virtualNetwork": obj{"id": w.net + "virtualNetworks/guarded"}, "registrationEnabled": false}})
	g.put(zone+"/A/tundra", "2020-06-01", obj{"properties": obj{"ttl": 60, "aRecords": []obj{{"ipv4Address": echo.host()}}}})
	w.rules(apps, collection("names", 100, obj{"ruleType": "NetworkRule", "name": "tundra", "ipProtocols": []string{"UDP", "TCP"}, "sourceAddresses": []string{"*"}, "destinationFqdns": []string{"tundra.corp.example"}, "destinationPorts": []string{port}}))
	// Nobody has asked the DNS proxy yet: who explains with a packet asks it, as a client does.
	if e := g.explainLive("--from", "guarded/work", "--to", net.JoinHostPort("tundra.corp.example", port), "--proto", "udp"); !e.Allowed || !e.Live.Agrees {
		t.Errorf("explain of a network rule by name: %+v", e)
	}
	if got := g.resolved("guarded/work", "tundra.corp.example"); got != echo.host() {
		t.Fatalf("tundra.corp.example is %q", got)
	}
	g.reaches("guarded/work", "udp", echo.addr, "answered")
	g.reaches("guarded/work", "tcp", echo.addr, "answered")
	g.reaches("guarded/work", "tcp", net.JoinHostPort(echo.host(), "1"), "dropped")
	g.eventually("the network rule is in the log", func() bool {
		return w.logged(obj{"Category": "AZFWNetworkRule", "Action": "Allow", "Rule": "tundra", "Protocol": "UDP"}) && w.logged(obj{"Category": "AZFWNetworkRule", "Action": "Deny", "ActionReason": "Default Action"})
	})

	g.kill() // the kernel's rules stand, what was learned too; the proxies come back with the server
	g.up()
	g.reaches("guarded/work", "udp", echo.addr, "answered")
	if a, err := w.sendFrom("guarded/work", "-token", "-", "GET", "https://"+mine+"/?comp=list"); err != nil || a.Status >= 500 {
		t.Errorf("after a restart: %v %v", a, err)
	}
	w.rules() // then nothing answers: the packets are dropped
	g.reaches("guarded/work", "tcp", "20.60.99.99:443", "dropped")
	g.reaches("guarded/work", "udp", echo.addr, "dropped")
	g.gone(w.firewall, vNetwork)
}

// TestFirewallInspection: a rule by path needs the Premium tier and a certificate authority in a vault, which the policy's
// own identity reads; revoking its role ends what the rule lets through.
func TestFirewallInspection(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	group := "/subscriptions/" + g.sub + "/resourceGroups/guarded"
	g.put(group, vResources, obj{"location": location})
	vault := group + "/providers/Microsoft.KeyVault/vaults/e2e-inspect"
	g.put(vault, vVault, obj{"location": location, "properties": obj{"tenantId": g.tenant, "sku": obj{"family": "A", "name": "standard"}, "enableRbacAuthorization": true, "accessPolicies": []any{}}})
	g.grant(g.me(), roleSecrets, vault)
	authority, secret := intermediate(t)
	if a := g.send(request{Method: "PUT", URL: "https://e2e-inspect.vault.azure.net/secrets/ca?api-version=7.4", Body: jsonBody(obj{"value": secret, "contentType": "application/x-pem-file"})}); !a.ok() {
		t.Fatalf("the secret: %s", a)
	}
	identity := group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
	principal := g.text(g.put(identity, vIdentity, obj{"location": location}), "properties.principalId")
	g.grant(principal, roleSecretsUser, vault)
	w := g.guard("Premium", obj{
		"identity":          obj{"type": "UserAssigned", "userAssignedIdentities": obj{identity: obj{}}},
		"transportSecurity": obj{"certificateAuthority": obj{"name": "ca", "keyVaultSecretId": "https://e2e-inspect.vault.azure.net/secrets/ca"}}})
	w.rules(collection("paths", 200, application("list", obj{"targetUrls": []string{mine + "/public/*"}, "terminateTLS": true})))
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, authority, 0o644); err != nil {
		t.Fatal(err)
	}
	ask := func(path string) (*answer, error) {
		out, err := g.output(g.with(t, "SSL_CERT_FILE="+bundle).at("guarded/work", "env", "SSL_CERT_FILE="+bundle, "rest", "-json", "-token", "-", "GET", "https://"+mine+path))
		if err != nil {
			return nil, err
		}
		a := new(answer)
		return a, json.Unmarshal([]byte(out), a)
	}
	if a, err := ask("/public/x"); err != nil || a.Status != 401 && a.Status != 403 && a.Status != 404 && a.Status != 409 {
		t.Errorf("the allowed path: %v %v", a, err)
	}
	if a, err := ask("/private/x"); err != nil || a.Status != 470 {
		t.Errorf("another path: %v %v", a, err)
	}
	if !w.logged(obj{"Category": "AZFWApplicationRule", "TargetUrl": mine + "/public/x", "Action": "Allow", "Rule": "list"}) {
		t.Error("the path is not in the log")
	}
	g.gone(assignment(principal, roleSecretsUser, vault), vRoles)
	g.vauban("down") // a firewall that starts now asks the vault
	g.up()
	if a, err := ask("/public/x"); err == nil {
		t.Errorf("inspected without a role on the vault: %v", a)
	}
	if !w.logged(obj{"Action": "Deny", "ActionReason": "key vault e2e-inspect.vault.azure.net answers 403"}) {
		t.Error("the log does not say that the vault refused")
	}
}

// intermediate is a certificate authority: its certificate, and that with its key as PEM.
func intermediate(t testing.TB) (certificate []byte, secret string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "e2e inspection"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certificate, string(certificate) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}
