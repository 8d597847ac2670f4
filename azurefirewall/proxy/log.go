package proxy

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"vauban.dev/azurefirewall"
)

// Categories of log records: the tables of Azure's structured firewall logs.
// https://learn.microsoft.com/azure/firewall/firewall-structured-logs
const (
	NetworkRule     = "AZFWNetworkRule"
	ApplicationRule = "AZFWApplicationRule"
	NATRule         = "AZFWNatRule"
	DNSQuery        = "AZFWDnsQuery"
)

// Record is one line of a firewall's log, with the columns of its category's table.
type Record struct {
	TimeGenerated time.Time `json:"TimeGenerated"`
	Category      string    `json:"Category"`
	ResourceID    string    `json:"_ResourceId"` // of the firewall

	Protocol        string `json:"Protocol,omitempty"`
	SourceIP        string `json:"SourceIp,omitempty"`
	SourcePort      uint16 `json:"SourcePort,omitempty"`
	DestinationIP   string `json:"DestinationIp,omitempty"`
	DestinationPort uint16 `json:"DestinationPort,omitempty"`

	Action       string `json:"Action,omitempty"` // Allow, Deny, DNAT
	ActionReason string `json:"ActionReason,omitempty"`
	Policy       string `json:"Policy,omitempty"`
	Group        string `json:"RuleCollectionGroup,omitempty"`
	Collection   string `json:"RuleCollection,omitempty"`
	Rule         string `json:"Rule,omitempty"`

	FQDN           string `json:"Fqdn,omitempty"`
	TargetURL      string `json:"TargetUrl,omitempty"`
	IsTLSInspected bool   `json:"IsTlsInspected,omitempty"`
	TranslatedIP   string `json:"TranslatedIp,omitempty"`
	TranslatedPort uint16 `json:"TranslatedPort,omitempty"`

	QueryID      uint16  `json:"QueryId,omitempty"`
	QueryName    string  `json:"QueryName,omitempty"`
	QueryType    string  `json:"QueryType,omitempty"`
	ResponseCode string  `json:"ResponseCode,omitempty"`
	Duration     float64 `json:"RequestDurationSecs,omitempty"`
	ErrorMessage string  `json:"ErrorMessage,omitempty"`
}

// From fills in who spoke to whom.
func (r *Record) From(src, dst netip.AddrPort) {
	r.SourceIP, r.SourcePort = src.Addr().String(), src.Port()
	r.DestinationIP, r.DestinationPort = dst.Addr().String(), dst.Port()
}

// By fills in which rule decided what.
func (r *Record) By(ref azurefirewall.Ref, action, reason string) {
	r.Action, r.ActionReason, r.Policy = action, reason, ref.Policy
	r.Group, r.Collection, r.Rule = ref.Group, ref.Collection, ref.Rule
	if (ref == azurefirewall.Ref{}) && reason == "" {
		r.ActionReason = azurefirewall.DefaultAction
	}
}

// Log keeps the last records of all firewalls of a region. The zero value is not usable.
type Log struct {
	mu   sync.Mutex
	ring []Record
	next uint64 // how many there have been
	now  func() time.Time
	tell func(Record)
}

// NewLog keeps up to n records, stamped by now.
func NewLog(n int, now func() time.Time) *Log { return &Log{ring: make([]Record, n), now: now} }

// Tell has f told of every record from now on, before any is added. It must not wait.
func (l *Log) Tell(f func(Record)) { l.tell = f }

// Add stamps and keeps a record.
func (l *Log) Add(r Record) {
	r.TimeGenerated = l.now().UTC()
	if l.tell != nil {
		l.tell(r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.next%uint64(len(l.ring))] = r
	l.next++
}

// Last returns up to n records, the oldest first: of one firewall, or of all for "".
func (l *Log) Last(n int, firewall string) []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Record
	for i := uint64(1); i <= min(l.next, uint64(len(l.ring))) && len(out) < n; i++ {
		r := l.ring[(l.next-i)%uint64(len(l.ring))]
		if firewall == "" || strings.EqualFold(r.ResourceID, firewall) {
			out = append(out, r)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
