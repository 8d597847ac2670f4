// Package spec is what Azure's REST API specification says of resource types: their api-versions, where they may stand,
// and the form of their bodies. A type is one for all of its api-versions: a member is required where each version
// requires it, and an enumeration has the values of all (github.com/Azure/azure-rest-api-specs, made by tools/apispec).
package spec

// Kind of a Node.
type Kind string

const (
	Any     Kind = ""
	String  Kind = "s"
	Enum    Kind = "e" // a string of Values; of any other too where Open
	Integer Kind = "i"
	Boolean Kind = "b"
	Array   Kind = "l"
	Object  Kind = "o"
)

// Flags of a Member.
const (
	Required  = 1 << iota // the client must send it
	ReadOnly              // the service's to say
	WriteOnly             // in no answer
)

// Scopes at which a type may be written, as Bicep counts them.
const (
	Tenant = 1 << iota
	ManagementGroup
	Subscription
	ResourceGroup
	Extension
)

// Place says whether a resource has a location.
type Place uint8

const (
	Nowhere   Place = iota
	Anywhere        // it may have one
	Somewhere       // it must
)

// Namespace is what is known of a namespace without its Catalog.
type Namespace struct {
	Name     string   `json:"n"` // microsoft.cdn, the file of its catalog
	Versions []string `json:"v"` // of all of its types, oldest first
	Types    []Type   `json:"t"`
}

// Type is a resource type.
type Type struct {
	Name     string `json:"n"` // Microsoft.Cdn/profiles
	Scopes   int    `json:"s"`
	Location Place  `json:"l,omitempty"`
	State    bool   `json:"p,omitempty"` // its resources have a provisioning state
	Always   bool   `json:"a,omitempty"` // a resource of the only name it may have is there with its parent

	in *namespace
}

// Catalog is the forms of the types of a namespace. Numbers are places in Nodes.
type Catalog struct {
	Forms []Form `json:"f"` // of the types, in the order of the index
	Nodes []Node `json:"n"`
}

// Form is that of the bodies of a type.
type Form struct {
	NameOf *int   `json:"m,omitempty"` // of its name: a pattern, lengths, the only names
	Body   int    `json:"b"`
	Lists  []List `json:"f,omitempty"`
}

// List is an action that answers what the service has made: listKeys.
type List struct {
	Name   string `json:"n"`
	Answer int    `json:"a"`
}

// Node is the form of a value.
type Node struct {
	Kind          Kind     `json:"k,omitempty"`
	Pattern       string   `json:"p,omitempty"`
	Min           *int     `json:"min,omitempty"` // of the length of a string or array, of an integer
	Max           *int     `json:"max,omitempty"`
	Values        []string `json:"v,omitempty"`
	Open          bool     `json:"u,omitempty"`
	Secret        bool     `json:"x,omitempty"`
	Members       []Member `json:"m,omitempty"` // ordered by name
	Item          *int     `json:"i,omitempty"` // of the elements of an array, of members beside Members
	Discriminator string   `json:"d,omitempty"` // the member that says which of Cases an object is, besides
	Cases         []Case   `json:"c,omitempty"`
}

// Member is a member of an object.
type Member struct {
	Name  string `json:"n"`
	Node  int    `json:"t"`
	Flags int    `json:"f,omitempty"`
}

// Case is one form of a discriminated object.
type Case struct {
	Value string `json:"v"`
	Node  int    `json:"t"`
}
