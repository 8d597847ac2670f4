package explain

import (
	"fmt"
	"slices"
	"strings"

	"vauban.dev/fabric"
	"vauban.dev/reach"
)

// Live is what became of a real connection from the same place, beside what the model says.
type Live struct {
	Outcome reach.Outcome `json:"outcome"`
	Result  reach.Result  `json:"probe"`
	// Rose are the counters of refusing rules that rose while the connection was tried.
	Rose   []reach.Rise `json:"rose,omitempty"`
	Agrees bool         `json:"agrees"`
	Why    string       `json:"why"`
}

// Compare puts a probe's result beside the answer. Rose are the counters that rose meanwhile.
func (a *Answer) Compare(r reach.Result, rose []reach.Rise) {
	l := &Live{Outcome: r.Outcome(), Result: r, Rose: rose}
	l.Agrees, l.Why = a.compare(l)
	a.Live = l
}

func (a *Answer) compare(l *Live) (agrees bool, why string) {
	var rule *reach.Rise
	for i := range l.Rose {
		if a.Rule != nil && l.Rose[i].Rule == *a.Rule {
			rule = &l.Rose[i]
		}
	}
	switch {
	case l.Outcome == reach.NotMeasured:
		return false, "nothing was measured: " + l.Result.Error
	case a.Unknown:
		return true, "a DNS server of your own decided: " + string(l.Outcome)
	case a.Refused == ByName:
		return l.Outcome == reach.NoName, "the resolver of the place was asked: " + string(l.Outcome)
	case (a.Refused == ByNetwork || a.Refused == ByReply) && a.Rule == nil:
		return l.Result.Connect != reach.Connected, "the model cannot follow the packet; it was: " + string(l.Outcome)
	case a.Refused == ByNetwork && a.Rule.Direction == fabric.Through.String() && a.Counter == "":
		// The proxy takes the connection, to read what it is for, and resets it.
		return !slices.Contains([]reach.Outcome{reach.Answered, reach.Forbidden, reach.Banner}, l.Outcome),
			fmt.Sprintf("%s, and %s is in the log of the firewall (vauban firewall log)", l.Outcome, a.Rule)
	case a.Refused == ByNetwork && rule != nil && a.Linked:
		return l.Outcome != reach.Answered && l.Outcome != reach.Forbidden && l.Outcome != reach.Banner,
			fmt.Sprintf("%s by the private link service, and the counter of %s rose by %d packets on the way to its backend", l.Outcome, a.Rule, rule.Packets)
	case a.Refused == ByReply && a.Reply.Allowed && rule != nil:
		return !slices.Contains([]reach.Outcome{reach.Answered, reach.Forbidden, reach.Banner}, l.Outcome),
			fmt.Sprintf("%s, and the counter of %s rose by %d packets that followed the answer", l.Outcome, a.Rule, rule.Packets)
	case (a.Refused == ByNetwork || a.Refused == ByReply) && rule == nil:
		return false, fmt.Sprintf("%s, but the counter of %s did not rise", l.Outcome, a.Rule)
	case a.Refused == ByNetwork || a.Refused == ByReply:
		return l.Outcome == reach.Dropped, fmt.Sprintf("%s, and the counter of %s rose by %d packets", l.Outcome, a.Rule, rule.Packets)
	case l.Outcome == reach.Dropped && a.Protocol == "Udp" && len(l.Rose) == 0:
		return true, "no answer, and no rule refused a packet: nobody there answers by UDP, or not to this"
	case l.Outcome == reach.Dropped || l.Outcome == reach.Unreachable || l.Outcome == reach.NoName:
		return false, "the model lets it pass, and it was: " + string(l.Outcome)
	case a.Service == "":
		return true, "it arrived: " + string(l.Outcome)
	}
	refused := l.Outcome == reach.Forbidden && strings.Contains(l.Result.Message, a.Service)
	if a.Refused != ByService {
		return !(refused || firewallCode(l.Result)), "the service took the connection: " + string(l.Outcome) + code(l.Result)
	}
	return refused, "the service answered " + string(l.Outcome) + code(l.Result)
}

// firewallCode reports whether a service's answer is a refusal by its firewall.
func firewallCode(r reach.Result) bool {
	return r.Code == "AuthorizationFailure" || r.Inner == "ForbiddenByConnection" || r.Inner == "ForbiddenByFirewall"
}

func code(r reach.Result) string {
	switch {
	case r.Code == "":
		return ""
	case r.Inner != "":
		return " " + r.Code + "/" + r.Inner
	}
	return " " + r.Code
}
