package e2e

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCaptures: Network Watcher's capture of an interface ends in the account, and `vauban capture` writes the
// same packets to a file.
func TestCaptures(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()
	w.services("Enabled")
	watcher := w.watcher()
	nic := w.group + "/providers/Microsoft.Network/networkInterfaces/server"
	const addr = "10.20.2.50"
	w.put(nic, vNetwork, obj{"location": location, "properties": obj{"ipConfigurations": []obj{{"name": "c", "properties": obj{
		"privateIPAllocationMethod": "Static", "privateIPAddress": addr, "subnet": obj{"id": w.vnet + "/subnets/jumpbox"}}}}}})
	one := watcher + "/packetCaptures/one"
	w.put(one, vNetwork, obj{"properties": obj{"target": nic, "bytesToCapturePerPacket": 64, "storageLocation": obj{
		"storageId": w.account, "storagePath": "https://" + blobHost + "/packets/one.cap"}, "filters": []obj{{"protocol": "TCP", "localPort": "81"}}}})
	status := func() string {
		a, err := w.do(t.Context(), request{Method: "POST", URL: "https://management.azure.com" + one + "/queryStatus?api-version=" + vNetwork})
		if err != nil || !a.ok() {
			t.Fatalf("queryStatus: %v %v", a, err)
		}
		return string(a.Body)
	}
	if s := status(); !strings.Contains(s, `"packetCaptureStatus":"Running"`) {
		t.Errorf("at first: %s", s)
	}
	file := filepath.Join(g.dir, "packets.pcap")
	cmd := g.command("capture", "--nic", "server", "-w", file, "--count", "2", "--duration", "60s")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// until it has seen its two packets: nobody answers at the port, so each try is a SYN and a reset
	for deadline := time.Now().Add(60 * time.Second); ; {
		g.output(g.at("hub/jumpbox", "probe", "tcp", addr+":81"))
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("capture: %v %s", err, said.String())
			}
		case <-time.After(200 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
			t.Fatalf("capture has not ended: %s", said.String())
		}
		break
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pcap(t, "the file", data, 2)
	a, err := w.do(t.Context(), request{Method: "POST", URL: "https://management.azure.com" + one + "/stop?api-version=" + vNetwork})
	if err != nil || a.Status != 202 {
		t.Fatalf("stop: %v %v", a, err)
	}
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(status(), `"stopReason":"CaptureStopped"`); {
		if time.Now().After(deadline) {
			t.Fatalf("after stop: %s", status())
		}
	}
	blob, err := w.sendFrom("hub/jumpbox", "-header", "x-ms-version: 2023-11-03", "GET", "https://"+blobHost+"/packets/one.cap")
	if err != nil || !blob.ok() {
		t.Fatalf("the blob: %v %v", blob, err)
	}
	pcap(t, "the blob", blob.Body, 1)
}

// pcap checks that data is a file of at least n packets, none with more than its snap length.
func pcap(t *testing.T, what string, data []byte, n int) {
	t.Helper()
	if len(data) < 24 || binary.LittleEndian.Uint32(data) != 0xa1b2c3d4 || binary.LittleEndian.Uint32(data[20:]) != 1 {
		t.Errorf("%s is no pcap of Ethernet: %d bytes", what, len(data))
		return
	}
	snap, found := binary.LittleEndian.Uint32(data[16:]), 0
	for data = data[24:]; len(data) >= 16; found++ {
		kept := binary.LittleEndian.Uint32(data[8:])
		if kept > snap || int(kept) > len(data)-16 {
			t.Errorf("%s: packet %d has %d bytes of %d, %d are left", what, found, kept, snap, len(data)-16)
			return
		}
		data = data[16+kept:]
	}
	if found < n {
		t.Errorf("%s has %d packets, want %d", what, found, n)
	}
}
