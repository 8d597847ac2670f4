package reach

import "strconv"

// Kind of a Target.
type Kind string

const (
	HTTP Kind = "http" // a request
	TCP  Kind = "tcp"  // a connection, and nothing said
	SSH  Kind = "ssh"  // a connection whose server speaks first
	Name Kind = "name" // its addresses, and nothing sent
	UDP  Kind = "udp"  // one datagram (probe.Packet)
	ICMP Kind = "icmp" // one echo request (probe.Packet)
)

// Target is a connection to make; `vauban probe` reads an array of them.
type Target struct {
	Name    string            `json:"name,omitempty"`
	Kind    Kind              `json:"kind"`
	URL     string            `json:"url,omitempty"`     // HTTP
	Address string            `json:"address,omitempty"` // TCP, SSH, Name: HOST:PORT
	Method  string            `json:"method,omitempty"`  // HTTP: GET by default
	Headers map[string]string `json:"headers,omitempty"` // HTTP; may hold a token, and is never printed
	// Token is the audience of the bearer token that the request needs, "" for none. It is got elsewhere
	// and put into Headers.
	Token string `json:"token,omitempty"`
	// Timeouts: for a connection to be made (3000), and for its answer (15000).
	ConnectMS int `json:"connectTimeoutMs,omitempty"`
	AnswerMS  int `json:"timeoutMs,omitempty"`
}

// Connect is how a connection began.
type Connect string

const (
	Connected      Connect = "connected"
	ConnectRefused Connect = "refused"     // a reset
	ConnectNoWay   Connect = "unreachable" // an ICMP error, or no route at all
	ConnectTimeout Connect = "timeout"     // nothing came back
	ConnectNoName  Connect = "no name"     // the resolver says that the name does not exist, or has no address
	ConnectFailed  Connect = "failed"      // the resolver did not answer, or the probe itself failed
)

// Result of a Target; `vauban probe` writes an array of them, in the order of the targets.
type Result struct {
	Name      string   `json:"name,omitempty"`
	Addresses []string `json:"addresses,omitempty"` // of the name, as the place's resolver gives them
	Address   string   `json:"address,omitempty"`   // ADDRESS:PORT that was tried
	Connect   Connect  `json:"connect"`
	// Sent is how many packets an unanswered connection has sent: SYN and its repetitions, by the kernel's
	// account of the socket. 0 if it was answered.
	Sent        uint64 `json:"sent,omitempty"`
	TLS         string `json:"tls,omitempty"`       // "TLS 1.3, certificate of NAME by AUTHORITY"
	Status      int    `json:"status,omitempty"`    // of HTTP
	Code        string `json:"code,omitempty"`      // Azure's error code
	Inner       string `json:"innerCode,omitempty"` // Azure's innererror.code
	Message     string `json:"message,omitempty"`   // Azure's error message
	Banner      string `json:"banner,omitempty"`    // of SSH
	Mute        bool   `json:"mute,omitempty"`      // connected, and no answer came in time
	Error       string `json:"error,omitempty"`     // what failed, in words
	TookMS      int64  `json:"tookMs"`
	ConnectedMS int64  `json:"connectedMs,omitempty"` // until the connection stood
}

// Outcome of a result.
func (r *Result) Outcome() Outcome {
	switch r.Connect {
	case ConnectTimeout:
		return Dropped
	case ConnectRefused:
		return Reset
	case ConnectNoWay:
		return Unreachable
	case ConnectNoName:
		return NoName
	case Connected:
		return r.answer()
	}
	return NotMeasured
}

func (r *Result) answer() Outcome {
	switch {
	case r.Banner != "":
		return Banner
	case r.Status != 0:
		return Outcome(strconv.Itoa(r.Status))
	case r.Mute:
		return Silent
	case r.Error != "":
		return Broken
	}
	return Open
}
