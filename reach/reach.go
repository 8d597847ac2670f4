// Package reach says who reaches what. A Scenario names places and things; for each pair it holds what is
// expected and why, as data; Measure makes real connections by way of a World, and a cell stands only if the
// measured outcome is the expected one, the refusal names the expected rule, the rule's counter rose by
// exactly the packets that this one connection sent, and the model (`vauban explain`) says the same.
//
// The package makes no connection itself: package probe does, as a process at the place.
package reach

import "encoding/json"

// Mode is how the scenario was built: the two rows of the specification's table of scenarios.
type Mode string

const (
	Public  Mode = "public"  // no virtual network: every service open to the internet, roles decide
	Secured Mode = "secured" // public access disabled, private endpoints in a virtual network
)

// Place is where connections are made from.
type Place struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	From  string `json:"from,omitempty"` // as `vauban explain --from` takes it; "" if this scenario has no such place
}

// Thing is what connections are made to.
type Thing struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Target Target `json:"target"` // zero if this scenario has no such thing
}

// Outcome of a connection, as the table shows it.
type Outcome string

const (
	Answered    Outcome = "200"     // the service did what was asked
	Forbidden   Outcome = "403"     // the service answered, and refused
	Banner      Outcome = "SSH"     // an SSH server greeted
	Open        Outcome = "open"    // the connection stands, and nobody was to say anything
	Dropped     Outcome = "dropped" // no answer to the first packet
	Reset       Outcome = "reset"   // the port is closed
	Unreachable Outcome = "no way"  // a router said that there is no way
	NoName      Outcome = "no name" // the name has no address there
	Silent      Outcome = "silent"  // connected, and then nothing
	Broken      Outcome = "broken"  // TLS or HTTP failed
	NotMeasured Outcome = "?"
)

// Rule names a rule that drops packets. The owner of the fabric's own rules is "fabric"; otherwise it is the
// resource id of a network security group.
type Rule struct {
	Owner     string `json:"owner"`
	Direction string `json:"direction,omitempty"`
	Name      string `json:"rule"`
}

// String is the label of the table: nsg-training/DenyInternet, fabric/no-route.
func (r Rule) String() string { return ShortID(r.Owner) + "/" + r.Name }

// Expectation of one cell.
type Expectation struct {
	Outcome Outcome `json:"outcome"`
	// By is what must refuse: the label of a rule for Dropped, an error code for Forbidden.
	By string `json:"by,omitempty"`
	// Why in one line.
	Why string `json:"why"`
}

// Model is what `vauban explain` says of a connection.
type Model struct {
	Allowed bool   `json:"allowed"`
	By      string `json:"by,omitempty"`      // what refuses, in words
	Rule    *Rule  `json:"rule,omitempty"`    // the rule that drops the packets
	Service string `json:"service,omitempty"` // what the service's own firewall says, in words
}

// Rise is how much a rule's counter rose.
type Rise struct {
	Rule    Rule   `json:"rule"`
	Packets uint64 `json:"packets"`
}

// Measurement of one cell.
type Measurement struct {
	Outcome Outcome `json:"outcome"`
	Result  Result  `json:"probe"`
	Model   Model   `json:"model"`
	// Rose are the counters that rose while a dropped connection, and no other, was tried again.
	Rose []Rise `json:"rose,omitempty"`
	// Failure says why nothing was measured.
	Failure string `json:"failure,omitempty"`
}

// Cell is one place and one thing.
type Cell struct {
	Place    string       `json:"place"`
	Thing    string       `json:"thing"`
	Expected *Expectation `json:"expected,omitempty"` // nil: there is no such connection in this scenario
	Measured *Measurement `json:"measured,omitempty"`
	Differs  []string     `json:"differs,omitempty"` // how the measured differs from the expected; none: it stands
}

// Table is the outcome of a scenario. Cells are by thing, then by place, in the scenario's order.
type Table struct {
	Mode   Mode    `json:"mode"`
	Places []Place `json:"places"`
	Things []Thing `json:"things"`
	Cells  []Cell  `json:"cells"`
}

// Differing are the cells that do not stand.
func (t *Table) Differing() (out []*Cell) {
	for i := range t.Cells {
		if len(t.Cells[i].Differs) > 0 {
			out = append(out, &t.Cells[i])
		}
	}
	return out
}

// Cell of a place and a thing, nil if there is none.
func (t *Table) Cell(place, thing string) *Cell {
	for i := range t.Cells {
		if t.Cells[i].Place == place && t.Cells[i].Thing == thing {
			return &t.Cells[i]
		}
	}
	return nil
}

// MarshalJSON adds whether every cell stands.
func (t *Table) MarshalJSON() ([]byte, error) {
	type plain Table
	return json.Marshal(struct {
		OK bool `json:"ok"`
		*plain
	}{len(t.Differing()) == 0, (*plain)(t)})
}
