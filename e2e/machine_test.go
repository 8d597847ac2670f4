package e2e

import (
	"bufio"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

const vCompute = "2024-11-01"

// overSSH logs in and runs a command, or asks through the machine.
func overSSH(addr, user, password, command string) (string, error) {
	c, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.Password(password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: unanswered()})
	if err != nil {
		return outcome(err)
	}
	defer c.Close()
	if to, ok := strings.CutPrefix(command, "forward:"); ok {
		conn, err := c.Dial("tcp", to)
		if err != nil {
			return "refused", nil
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("ping\n")); err != nil {
			return "", err
		}
		if _, err := bufio.NewReader(conn).ReadByte(); err != nil {
			return "", err
		}
		return "answered", nil
	}
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.CombinedOutput(command)
	return string(out), err
}

// TestVirtualMachine: a jump box is reached by SSH through the rules of the network, keeps what is on its disk, is who its
// identity says, forwards, and outlives the server.
func TestVirtualMachine(t *testing.T) {
	g := newGround(t, nil).with(t, "PROBE_WAIT=4s")
	g.up()
	w := g.network()
	providers := w.group + "/providers/"
	nic, vm := providers+"Microsoft.Network/networkInterfaces/nic", providers+"Microsoft.Compute/virtualMachines/jump"
	made := w.put(nic, vNetwork, obj{"location": location, "properties": obj{"ipConfigurations": []obj{{"name": "c", "properties": obj{"subnet": obj{"id": w.vnet + "/subnets/jumpbox"}}}}}})
	addr := w.text(made["properties"].(obj)["ipConfigurations"].([]any)[0], "properties.privateIPAddress")
	const password = "Correct-Horse-7"
	w.put(vm, vCompute, obj{"location": location, "identity": obj{"type": "SystemAssigned"}, "properties": obj{
		"hardwareProfile": obj{"vmSize": "Standard_DS2_v2"},
		"storageProfile":  obj{"imageReference": obj{"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}, "osDisk": obj{"createOption": "FromImage"}},
		"osProfile":       obj{"computerName": "jump", "adminUsername": "azureuser", "adminPassword": password},
		"networkProfile":  obj{"networkInterfaces": []obj{{"id": nic}}}}})
	say := func(command string) string {
		out, err := g.output(g.at("hub/training", "probe", "ssh", addr+":22", "azureuser", password, command))
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(out)
	}
	g.eventually("the machine lets in", func() bool { return say("hostname") == "jump" })
	if got := say("echo kept > note; id -un; pwd; echo $USER"); !strings.Contains(got, "azureuser") {
		t.Errorf("session: %s", got)
	}
	if got := say("cat ~/note"); got != "kept" {
		t.Errorf("home: %s", got)
	}

	token := say("curl -s -H Metadata:true 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/'")
	if !strings.Contains(token, "access_token") {
		t.Errorf("IMDS: %s", token)
	}
	if got := say("curl -s -H Metadata:true 'http://169.254.169.254/metadata/instance/compute/name?api-version=2021-02-01&format=text'"); got != "jump" {
		t.Errorf("instance: %s", got)
	}
	s := g.serve("hub/training")
	if got := say("forward:" + s.addr); got != "answered" {
		t.Errorf("forwarded: %s", got)
	}
	if a := w.send(request{Method: http.MethodDelete, URL: nic + "?api-version=" + vNetwork}); a.Status != 400 || !strings.Contains(string(a.Body), "NicInUse") {
		t.Errorf("interface of a machine deleted: %s", a)
	}

	process := func() string {
		files, _ := filepath.Glob(filepath.Join(g.dir, "machines", "*", "process.json"))
		if len(files) != 1 {
			t.Fatalf("machines: %v", files)
		}
		return contents(files[0])
	}
	before := process()
	w.kill()
	g.up()
	if got := say("cat ~/note"); got != "kept" {
		t.Errorf("after the server's return: %s", got)
	}
	if after := process(); after != before {
		t.Errorf("the machine did not outlive the server: %s, before it was %s", after, before)
	}

	nsgRule := providers + "Microsoft.Network/networkSecurityGroups/jumpbox/securityRules/DenySSH"
	w.put(nsgRule, vNetwork, obj{"properties": rule("DenySSH", 200, "Inbound", "Deny", "Tcp", "10.20.1.0/24", "*", "22")["properties"]})
	if got := say("hostname"); !strings.Contains(got, "dropped") {
		t.Errorf("through a deny: %s", got)
	}
	w.gone(nsgRule, vNetwork)

	power := func(action string) {
		t.Helper()
		if a := w.send(request{Method: http.MethodPost, URL: vm + "/" + action + "?api-version=" + vCompute}); !a.ok() {
			t.Fatalf("%s: %s", action, a)
		}
	}
	power("deallocate")
	g.eventually("nobody answers", func() bool { return strings.Contains(say("hostname"), "refused") })
	power("start")
	g.eventually("the disk is kept", func() bool { return say("cat ~/note") == "kept" })
	s.stdin.Close()
	if out, err := g.down(); err != nil {
		t.Fatalf("vauban down: %v\n%s", err, out)
	}
	g.up()
	g.eventually("the disk is kept when the region was down", func() bool { return say("cat ~/note") == "kept" })
	w.gone(vm, vCompute)
	if got := say("hostname"); !strings.Contains(got, "refused") {
		t.Errorf("after deletion: %s", got)
	}
	w.gone(nic, vNetwork)
}
