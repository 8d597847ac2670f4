package relay

import (
	"encoding/binary"
	"net/netip"
)

// signature begins every header of the PROXY protocol's second version.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// Azure's own entry in the header: which private endpoint the connection came by.
// https://learn.microsoft.com/azure/private-link/private-link-service-overview#getting-connection-information-using-tcp-proxy-v2
const (
	typeAzure   = 0xEE
	subtypeLink = 0x01
)

// ProxyHeader is the header by which a private link service with enableProxyProtocol tells a backend who
// calls: the client's address in its own network, the endpoint's address, and the connection's link identifier.
// Both addresses are IPv4.
func ProxyHeader(client, endpoint netip.AddrPort, linkID uint32) []byte {
	body := append(client.Addr().AsSlice(), endpoint.Addr().AsSlice()...)
	body = binary.BigEndian.AppendUint16(body, client.Port())
	body = binary.BigEndian.AppendUint16(body, endpoint.Port())
	body = append(body, typeAzure, 0, 5, subtypeLink)
	body = binary.LittleEndian.AppendUint32(body, linkID)
	const version2Proxy, tcp4 = 0x21, 0x11
	head := append([]byte(signature), version2Proxy, tcp4)
	head = binary.BigEndian.AppendUint16(head, uint16(len(body)))
	return append(head, body...)
}
