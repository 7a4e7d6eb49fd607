package probe

import "net"

// Forbidden is what refuses addresses.
var Forbidden = forbidden

// Resolve has names resolved by r.
func (p *Prober) Resolve(r *net.Resolver) { p.dialer.Resolver = r }
