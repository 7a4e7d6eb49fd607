package probe

// dial.go: the addresses that no probe goes to.

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// metadata are addresses outside of the link-local ranges at which a cloud tells a machine, and
// whoever speaks through it, its secrets.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
}

// nat64 is the prefix behind which a translator reaches IPv4 addresses (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// refuse is a net.Dialer's Control. It is called with the address that is about to be
// connected to, after names were resolved, so nothing can change in between.
func refuse(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address and port: %w", address, err)
	}
	if kind := forbidden(ap.Addr()); kind != "" {
		return fmt.Errorf("%s is %s address, which is never probed", ap.Addr(), kind)
	}
	return nil
}

// forbidden says what kind of address it is that must not be probed, or "".
func forbidden(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case slices.Contains(metadata, addr):
		return "a metadata"
	case addr.IsLinkLocalUnicast():
		return "a link-local"
	case addr.IsMulticast():
		return "a multicast"
	case addr.IsUnspecified():
		return "an unspecified"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "a broadcast"
	}
	return ""
}
