package dns

import mdns "github.com/miekg/dns"

// ednsSize is what we offer and at most send by UDP: RFC 9715's size that never fragments.
const ednsSize = 1232

// answer turns the bytes of a query into the bytes of its reply (in buf where they fit), or nil for
// what deserves none: no header, or itself a reply.
func answer(resolve Resolver, query, buf []byte, udp bool) []byte {
	var q mdns.Msg
	if err := q.Unpack(query); err != nil {
		return malformed(query, buf)
	}
	if q.Response {
		return nil
	}
	var r mdns.Msg
	r.SetReply(&q)
	r.RecursionAvailable = true
	size := mdns.MaxMsgSize
	if udp {
		size = mdns.MinMsgSize
	}
	opt := q.IsEdns0()
	if opt != nil {
		r.SetEdns0(ednsSize, false)
		if udp {
			size = min(max(int(opt.UDPSize()), mdns.MinMsgSize), ednsSize)
		}
	}
	switch {
	case q.Opcode != mdns.OpcodeQuery:
		r.Rcode = mdns.RcodeNotImplemented
	case len(q.Question) != 1:
		r.Rcode = mdns.RcodeFormatError
	case opt != nil && opt.Version() != 0:
		r.SetRcode(&q, mdns.RcodeBadVers)
		r.RecursionAvailable = true
	case q.Question[0].Qclass != mdns.ClassINET:
		r.Rcode = mdns.RcodeRefused
	case refused(q.Question[0].Qtype):
		r.Rcode = mdns.RcodeRefused
	default:
		fill(&r, resolve(q.Question[0].Name, q.Question[0].Qtype))
	}
	if r.Len() > size {
		r.Truncate(size)
	}
	out, err := r.PackBuffer(buf)
	if err != nil { // a name in a zone that cannot be written: say so rather than stay silent
		var f mdns.Msg
		f.SetRcode(&q, mdns.RcodeServerFailure)
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
	r.Rcode = a.Rcode
	negative := a.Rcode == mdns.RcodeNameError
	if a.Rcode == mdns.RcodeSuccess {
		negative = len(a.Records) == 0 || (len(a.Addrs()) == 0 && r.Question[0].Qtype != mdns.TypeCNAME)
	}
	for i, rec := range a.Records {
		owner := rec.Name + "."
		if i == 0 || a.Records[0].Name == rec.Name {
			owner = r.Question[0].Name
		}
		h := mdns.RR_Header{Name: owner, Rrtype: rec.Type, Class: mdns.ClassINET, Ttl: rec.TTL}
		switch {
		case rec.Type == mdns.TypeCNAME:
			r.Answer = append(r.Answer, &mdns.CNAME{Hdr: h, Target: rec.Target + "."})
		case rec.Addr.Is4():
			b := rec.Addr.As4()
			r.Answer = append(r.Answer, &mdns.A{Hdr: h, A: b[:]})
		}
	}
	if !negative {
		return
	}
	q := r.Question[0]
	if q.Qtype == mdns.TypeSOA && a.Authority != "" && len(a.Records) == 0 && Canonical(q.Name) == a.Authority {
		r.Answer = append(r.Answer, a.SOA.rr(a.Authority, a.SOA.TTL))
		return
	}
	r.Ns = append(r.Ns, a.SOA.rr(a.Authority, min(a.SOA.TTL, a.SOA.MinimumTTL)))
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
