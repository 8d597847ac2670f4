package authz

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

//go:embed operations.txt.gz
var operationsText []byte

// operationList is the operations of one plane in lower case, sorted.
type operationList []string

// spelled are operations as Azure writes them, by their lower case.
var spelled = map[string]string{}

// known are Azure's operations: those that its built-in roles and its API descriptions name in full.
var known = sync.OnceValue(func() (planes [2]operationList) {
	for line := range strings.Lines(string(unpack("operations.txt.gz", operationsText))) {
		name, data := strings.CutPrefix(strings.TrimSpace(line), "D ")
		planes[plane(data)] = append(planes[plane(data)], lower(name))
		spelled[lower(name)] = name
	}
	for i := range planes {
		slices.Sort(planes[i])
	}
	return planes
})

func plane(data bool) int {
	if data {
		return 1
	}
	return 0
}

// KnownAction reports whether an action of a role, a pattern or not, names at least one operation of Azure that is known
// here. A pattern without a namespace names some of every one.
func KnownAction(action string, data bool) bool {
	list := known()[plane(data)]
	text := lower(action)
	head, _, wild := strings.Cut(text, "*")
	if !wild {
		_, found := slices.BinarySearch(list, text)
		return found
	}
	p := patterns([]string{text})[0]
	// workspaces/*/read names workspaces/read too: its slash may be that of the part behind the star
	head = strings.TrimSuffix(head, "/")
	at, _ := slices.BinarySearch(list, head)
	for ; at < len(list) && strings.HasPrefix(list[at], head); at++ {
		if p.match(list[at]) {
			return true
		}
	}
	return false
}

// NearestAction is the known operation that an unknown one is a misprint of by three letters at most, "" if there is
// none.
func NearestAction(action string, data bool) string {
	text := lower(action)
	best, least := "", 4
	for _, have := range known()[plane(data)] {
		if d := distance(text, have, least); d < least {
			best, least = have, d
		}
	}
	return spelled[best]
}

// distance is how many letters must be put in, taken out or changed to make b of a, at most the limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
			least = min(least, row[j+1])
		}
		if least >= limit {
			return limit
		}
	}
	return min(row[len(b)], limit)
}

// KnownNamespace reports whether Azure has operations under this namespace.
func KnownNamespace(namespace string) bool {
	head := lower(namespace) + "/"
	for _, list := range known() {
		if at, _ := slices.BinarySearch(list, head); at < len(list) && strings.HasPrefix(list[at], head) {
			return true
		}
	}
	return false
}

// maxHints bounds how many actions keep the role that would grant them: callers choose some of them.
const maxHints = 4096

var hints = struct {
	sync.Mutex
	role map[string]string // GUID of the role, "" for none
}{role: map[string]string{}}

// would is the narrowest built-in role that grants the action without a condition; nil if there is none.
func (f *facts) would() *RoleHint {
	key := f.action
	if f.request.Data {
		key = "D " + key
	}
	hints.Lock()
	id, ok := hints.role[key]
	hints.Unlock()
	if !ok {
		id = narrowest(f.action, f.request.Data)
		hints.Lock()
		if len(hints.role) >= maxHints {
			clear(hints.role)
		}
		hints.role[key] = id
		hints.Unlock()
	}
	d, ok := Builtin(id)
	if !ok {
		return nil
	}
	return &RoleHint{Role: d.RoleName, Definition: id, Scope: f.request.Scope}
}

// familiar are the roles that people assign; among the others are many that services have for themselves.
var familiar = []string{
	"AcrPull", "AcrPush", "Azure Kubernetes Service Cluster Admin Role",
	"Azure Kubernetes Service Cluster User Role", "Azure Kubernetes Service Contributor Role", "Azure Kubernetes Service RBAC Admin",
	"Azure Kubernetes Service RBAC Cluster Admin", "Azure Kubernetes Service RBAC Reader", "Azure Kubernetes Service RBAC Writer",
	"Azure Machine Learning Workspace Connection Secrets Reader", "AzureML Compute Operator", "AzureML Data Scientist", "AzureML Registry User",
	"Contributor", "DNS Zone Contributor", "Key Vault Administrator", "Key Vault Certificate User", "Key Vault Certificates Officer",
	"Key Vault Contributor", "Key Vault Crypto Officer", "Key Vault Crypto Service Encryption User", "Key Vault Crypto User", "Key Vault Reader",
	"Key Vault Secrets Officer", "Key Vault Secrets User", "Log Analytics Contributor", "Log Analytics Reader", "Managed Identity Contributor",
	"Managed Identity Operator", "Monitoring Contributor", "Monitoring Reader", "Network Contributor", "Owner", "Private DNS Zone Contributor",
	"Reader", "Resource Policy Contributor", "Role Based Access Control Administrator", "Storage Account Contributor",
	"Storage Account Key Operator Service Role", "Storage Blob Data Contributor", "Storage Blob Data Owner", "Storage Blob Data Reader",
	"Storage Blob Delegator", "Storage File Data Privileged Contributor", "Storage File Data SMB Share Contributor", "Storage Queue Data Contributor",
	"Storage Table Data Contributor", "Tag Contributor", "User Access Administrator", "Virtual Machine Administrator Login",
	"Virtual Machine Contributor", "Virtual Machine User Login",
}

// narrowest finds the role that grants the action and least besides, among the familiar ones if one of them does.
func narrowest(action string, data bool) string {
	best, least := "", 0
	reads := strings.HasSuffix(action, "/read")
	for _, d := range sorted() {
		if v := d.check(action, data, nil); !v.granted || v.condition != nil {
			continue
		}
		w := d.breadth()
		if !slices.Contains(familiar, d.RoleName) {
			w += 100_000_000
		}
		if reads && !strings.Contains(d.RoleName, "Reader") {
			w += 10_000_000 // who is to read need not write
		}
		if best == "" || w < least {
			best, least = d.Name, w
		}
	}
	return best
}

// breadth is a rough measure of how much a role grants: a pattern counts for more the less of it is fixed.
func (d *Definition) breadth() (n int) {
	for i := range d.blocks {
		for weight, r := range map[int]*rules{1: &d.blocks[i].control, 2: &d.blocks[i].data} {
			for _, p := range r.allow {
				n += weight * p.breadth()
			}
		}
	}
	return n
}

func (p *pattern) breadth() int {
	if len(p.parts) == 1 {
		return 1
	}
	switch strings.Count(p.parts[0], "/") {
	case 0:
		if p.text == "*" {
			return 1_000_000
		}
		return 100_000
	case 1:
		return 1000
	}
	return 50
}
