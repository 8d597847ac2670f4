package dns

import (
	"strings"

	mdns "github.com/miekg/dns"
)

// ednsSize is what we offer and at most send by UDP: RFC 9715's size that never fragments.
const ednsSize = 1232

// exchange is a query on its way to its reply.
type exchange struct {
	q, r mdns.Msg
	size int // the reply's limit, in bytes
}

// begin reads a query. It returns nil, with the bytes of the reply (in buf where they fit) or nil where none
// is deserved, when there is nothing to resolve: no header, itself a reply, or a question that is refused.
func begin(query, buf []byte, udp bool) (x *exchange, reply []byte) {
	x = &exchange{}
	if err := x.q.Unpack(query); err != nil {
		return nil, malformed(query, buf)
	}
	q, r := &x.q, &x.r
	if q.Response {
		return nil, nil
	}
	r.SetReply(q)
	r.RecursionAvailable = true
	x.size = mdns.MaxMsgSize
	if udp {
		x.size = mdns.MinMsgSize
	}
	opt := q.IsEdns0()
	if opt != nil {
		r.SetEdns0(ednsSize, false)
		if udp {
			x.size = min(max(int(opt.UDPSize()), mdns.MinMsgSize), ednsSize)
		}
	}
	switch {
	case q.Opcode != mdns.OpcodeQuery:
		r.Rcode = mdns.RcodeNotImplemented
	case len(q.Question) != 1:
		r.Rcode = mdns.RcodeFormatError
	case opt != nil && opt.Version() != 0:
		r.SetRcode(q, mdns.RcodeBadVers)
		r.RecursionAvailable = true
	case q.Question[0].Qclass != mdns.ClassINET, refused(q.Question[0].Qtype):
		r.Rcode = mdns.RcodeRefused
	default:
		return x, nil
	}
	return nil, x.pack(buf)
}

// finish writes the reply that says a.
func (x *exchange) finish(a Answer, buf []byte) []byte {
	fill(&x.r, a)
	return x.pack(buf)
}

func (x *exchange) pack(buf []byte) []byte {
	if x.r.Len() > x.size {
		x.r.Truncate(x.size)
	}
	out, err := x.r.PackBuffer(buf)
	if err != nil { // a name in a zone that cannot be written: say so rather than stay silent
		var f mdns.Msg
		f.SetRcode(&x.q, mdns.RcodeServerFailure)
		if out, err = f.PackBuffer(buf); err != nil {
			return nil
		}
	}
	return out
}

// refused are the types that ask for more than a name's records: ANY (RFC 8482 lets a server refuse),
// transfers and other meta types.
func refused(qtype uint16) bool {
	return qtype == mdns.TypeNone || qtype == mdns.TypeOPT || (qtype >= 128 && qtype <= 255)
}

// fill writes a into r. Only the first name of a chain is the client's own spelling; comparisons do
// not care.
func fill(r *mdns.Msg, a Answer) {
	if a.Forward != nil { // nobody has asked those who know
		r.Rcode = mdns.RcodeServerFailure
		return
	}
	r.Rcode = a.Rcode
	q := r.Question[0]
	answered := len(a.Extra) > 0 || len(a.ExtraAuthority) > 0
	for i := range a.Records {
		rec := &a.Records[i]
		owner := rec.Name + "."
		if i == 0 || a.Records[0].Name == rec.Name {
			owner = q.Name
		}
		if rec.Type == q.Qtype {
			answered = true
		}
		r.Answer = append(r.Answer, rec.rr(owner))
	}
	r.Answer = append(r.Answer, a.Extra...)
	r.Ns = append(r.Ns, a.ExtraAuthority...)
	if answered || a.Rcode != mdns.RcodeSuccess && a.Rcode != mdns.RcodeNameError {
		return
	}
	if q.Qtype == mdns.TypeSOA && a.Authority != "" && len(a.Records) == 0 && Canonical(q.Name) == a.Authority {
		r.Answer = append(r.Answer, a.SOA.rr(a.Authority, a.SOA.TTL))
		return
	}
	r.Ns = append(r.Ns, a.SOA.rr(a.Authority, min(a.SOA.TTL, a.SOA.MinimumTTL)))
}

// rr is the record as it goes over the wire.
func (r *Record) rr(owner string) mdns.RR {
	h := mdns.RR_Header{Name: owner, Rrtype: r.Type, Class: mdns.ClassINET, Ttl: r.TTL}
	switch r.Type {
	case mdns.TypeCNAME:
		return &mdns.CNAME{Hdr: h, Target: r.Target + "."}
	case mdns.TypeMX:
		return &mdns.MX{Hdr: h, Preference: r.Preference, Mx: r.Target + "."}
	case mdns.TypeNS:
		return &mdns.NS{Hdr: h, Ns: r.Target + "."}
	case mdns.TypePTR:
		return &mdns.PTR{Hdr: h, Ptr: r.Target + "."}
	case mdns.TypeSRV:
		return &mdns.SRV{Hdr: h, Priority: r.Preference, Weight: r.Weight, Port: r.Port, Target: r.Target + "."}
	case mdns.TypeTXT:
		return &mdns.TXT{Hdr: h, Txt: escapeText(r.Text)}
	case mdns.TypeAAAA:
		b := r.Addr.As16()
		return &mdns.AAAA{Hdr: h, AAAA: b[:]}
	}
	b := r.Addr.As4()
	return &mdns.A{Hdr: h, A: b[:]}
}

// escapeText writes strings as the library reads them: a backslash begins an escape there.
func escapeText(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = strings.ReplaceAll(s, `\`, `\\`)
	}
	return out
}

func (s SOA) rr(zone string, ttl uint32) *mdns.SOA {
	return &mdns.SOA{
		Hdr: mdns.RR_Header{Name: zone + ".", Rrtype: mdns.TypeSOA, Class: mdns.ClassINET, Ttl: ttl},
		Ns:  s.Host + ".", Mbox: s.Email + ".", Serial: s.Serial,
		Refresh: s.Refresh, Retry: s.Retry, Expire: s.Expire, Minttl: s.MinimumTTL,
	}
}

// malformed answers a message that has a readable query header with FORMERR.
func malformed(query, buf []byte) []byte {
	const header, qr = 12, 0x80
	if len(query) < header || query[2]&qr != 0 || len(buf) < header {
		return nil
	}
	out := buf[:header]
	clear(out)
	copy(out, query[:2])
	out[2] = query[2]&0x79 | qr // opcode and RD as asked
	out[3] = 0x80 | mdns.RcodeFormatError
	return out
}
