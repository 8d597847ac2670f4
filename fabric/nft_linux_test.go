package fabric

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nft runs the program in a network namespace of its own, as root there.
func nft(t *testing.T, script string) []byte {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%.2000s", err, stderr.String())
	}
	return out.Bytes()
}

// sizes is how many lines each object has: rules, or elements.
type sizes map[string]int

// loaded reads `nft -j list ruleset`.
func loaded(t *testing.T, text []byte) sizes {
	t.Helper()
	type element struct {
		Name  string
		Chain string
		Elem  []json.RawMessage
	}
	var list struct {
		Nftables []map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	out := sizes{}
	for _, entry := range list.Nftables {
		for kind, body := range entry {
			if kind == "metainfo" || kind == "table" {
				continue
			}
			var e element
			if err := json.Unmarshal(body, &e); err != nil {
				t.Fatal(err)
			}
			switch kind {
			case "rule":
				out["chain "+e.Chain]++
			case "counter":
				out["counter "+e.Name] = 0
			default:
				out[kind+" "+e.Name] += len(e.Elem)
			}
		}
	}
	return out
}

func wanted(n *Namespace) sizes {
	out := sizes{}
	for _, o := range n.Objects {
		out[fmt.Sprintf("%s %s", o.Kind, o.Name)] = len(o.Lines)
	}
	return out
}

// The whole text, in one piece, is what nft understands.
func TestNFTUnderstandsTheText(t *testing.T) {
	state, err := Compile(scenario())
	if err != nil {
		t.Fatal(err)
	}
	for i := range state.Namespaces {
		file := filepath.Join(t.TempDir(), "ruleset")
		if err := os.WriteFile(file, []byte(state.Namespaces[i].NFT), 0o600); err != nil {
			t.Fatal(err)
		}
		nft(t, "nft -c -f "+file)
	}
}

// The kernel takes each ruleset, and has afterwards what was written: no rule and no element less.
func TestKernelTakesRulesets(t *testing.T) {
	c := newChance(9)
	topologies := map[string]*Topology{
		"scenario": scenario(), "empty": {VNets: []VNet{{ID: "v"}}},
		"tags": large(c.tagRules(100), c.tags), "narrow": large(c.narrowRules(1000), c.tags),
	}
	for seed := range uint64(3) {
		topologies[fmt.Sprintf("random %d", seed)] = newChance(seed).topology()
	}
	for name, topology := range topologies {
		t.Run(name, func(t *testing.T) {
			state, err := Compile(topology)
			if err != nil {
				t.Fatal(err)
			}
			for i := range state.Namespaces {
				n := &state.Namespaces[i]
				if n.NFT == "" {
					continue
				}
				dir := t.TempDir()
				for i, batch := range batches(n.Objects, batchSize) {
					file := filepath.Join(dir, fmt.Sprintf("%04d.nft", i))
					if err := os.WriteFile(file, []byte(batch), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				got := loaded(t, nft(t, "for f in "+dir+"/*.nft; do nft -f $f; done; nft -j list ruleset"))
				if diff := cmp.Diff(wanted(n), got); diff != "" {
					t.Errorf("%s: %s", n.Name, diff)
				}
			}
		})
	}
}

// batchSize is how many bytes of text nft can load in one transaction without privileges over the host,
// whose limit for socket buffers (net.core.wmem_max, 208 KiB by default) then holds.
const batchSize = 16 << 10

// batches cuts objects into rulesets of at most about size bytes, to be loaded one after the other: long
// objects are continued in the next one. Base chains come last, so nothing is filtered, and nothing may
// be routed, before the last batch is in.
func batches(objects []Object, size int) []string {
	var out []string
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			out = append(out, "table inet "+TableName+" {\n"+b.String()+"}\n")
			b.Reset()
		}
	}
	for _, o := range baseLast(objects) {
		rest := o.Lines
		for {
			o.Lines, rest = upTo(rest, size-b.Len())
			o.write(&b)
			if len(rest) == 0 {
				break
			}
			flush()
		}
		if b.Len() >= size {
			flush()
		}
	}
	flush()
	return out
}

func baseLast(objects []Object) []Object {
	var plain, base []Object
	for _, o := range objects {
		if o.Kind == ChainObject && len(o.Spec) > 0 {
			base = append(base, o)
			continue
		}
		plain = append(plain, o)
	}
	return append(plain, base...)
}

// upTo takes lines of size bytes together, one at least.
func upTo(lines []string, size int) (head, rest []string) {
	for i, l := range lines {
		if size -= len(l) + 4; size < 0 && i > 0 {
			return lines[:i], lines[i:]
		}
	}
	return lines, nil
}
