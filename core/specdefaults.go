package core

// specdefaults.go: defaults for one service name, under what a registration says itself.

import "maps"

// WithDefaults returns the Spec with every field that it leaves open taken from def. Metadata
// is merged key by key; a tag list, an endpoint list or a check is taken whole.
func (s Spec) WithDefaults(def Spec) Spec {
	pick := func(to *string, from string) {
		if *to == "" {
			*to = from
		}
	}
	pick(&s.Host, def.Host)
	pick(&s.Scheme, def.Scheme)
	pick(&s.Version, def.Version)
	pick(&s.Region, def.Region)
	pick(&s.Zone, def.Zone)
	pick(&s.Datacenter, def.Datacenter)
	pick(&s.HealthCheckURL, def.HealthCheckURL)
	pick(&s.Status, def.Status)
	if s.Port == 0 {
		s.Port = def.Port
	}
	if s.Weight == nil {
		s.Weight = def.Weight
	}
	if s.Tags == nil {
		s.Tags = def.Tags
	}
	if s.Endpoints == nil {
		s.Endpoints = def.Endpoints
	}
	if s.TTL == 0 {
		s.TTL = def.TTL
	}
	if s.Keepalive == "" {
		s.Keepalive = def.Keepalive
	}
	if s.Check == nil {
		s.Check = def.Check
	}
	if !def.Metadata.IsEmpty() {
		merged := def.Metadata.Map()
		maps.Copy(merged, s.Metadata.Map())
		if m, err := NewMetadata(merged); err == nil { // too large together: the registration's own wins
			s.Metadata = m
		}
	}
	return s
}
