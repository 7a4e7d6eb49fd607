package main

// shown.go: what Consul shows, by its DNS, its health and catalog API, and to its UI.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
)

// shown is what Consul answers, in words, by what it was asked.
type shown map[string]string

// compare says where something else is shown.
func (want shown) compare(got shown) error {
	var errs []error
	all := maps.Clone(want)
	maps.Copy(all, got)
	for _, of := range slices.Sorted(maps.Keys(all)) {
		w, expected := want[of]
		g, there := got[of]
		switch {
		case !there:
			errs = append(errs, fmt.Errorf("%s is missing: it was %q", of, w))
		case !expected:
			errs = append(errs, fmt.Errorf("%s is there, %q, and was not registered", of, g))
		case w != g:
			errs = append(errs, fmt.Errorf("%s is %q and should be %q", of, g, w))
		}
	}
	return errors.Join(errs...)
}

// expect is what Consul has to show of instances.
func expect(all []instance) shown {
	want := shown{}
	services := map[string][]instance{}
	for _, in := range all {
		address := fmt.Sprintf("%s:%d", in.spec.Host, in.spec.Port)
		services[in.spec.Service] = append(services[in.spec.Service], in)
		want["catalog "+in.key().String()] = described(address, *in.spec.Weight, in.spec.Tags)
		want["health "+in.key().String()] = described(address, *in.spec.Weight, in.spec.Tags) + " " + in.status + ", " + in.output
	}
	for service, list := range services {
		var tags, names []string
		count := map[string]int{}
		for _, in := range list {
			count[in.status]++
			tags = append(tags, in.spec.Tags...)
		}
		tags = sortedSet(tags)
		want["UI "+service] = summed(len(list), count["passing"], count["critical"], tags)
		for _, tag := range tags {
			names = append(names, tag+"."+service)
		}
		for _, name := range append(names, service) {
			var srv, a []string
			for _, in := range list {
				if in.status == "passing" && (name == service || slices.Contains(in.spec.Tags, strings.TrimSuffix(name, "."+service))) {
					srv = append(srv, target(in.spec.Host, uint16(in.spec.Port), uint16(*in.spec.Weight)))
					a = append(a, in.spec.Host)
				}
			}
			want["SRV "+name], want["A "+name] = listed(srv), listed(a)
		}
	}
	return want
}

// ask asks Consul for everything, and when it last wrote each instance: what was removed and put
// back between two looks is seen by that.
func (s *stage) ask(ctx context.Context) (got, written shown, err error) {
	got, written = shown{}, shown{}
	for of := range s.expected {
		kind, name, _ := strings.Cut(of, " ")
		switch kind {
		case "SRV":
			got[of], err = s.askSRV(ctx, name)
		case "A":
			got[of], err = s.askA(ctx, name)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", of, err)
		}
	}
	for _, service := range sortedSet(s.services()) {
		if err := s.askHealth(ctx, service, got, written); err != nil {
			return nil, nil, err
		}
		if err := s.askCatalog(ctx, service, got); err != nil {
			return nil, nil, err
		}
	}
	return got, written, s.askUI(ctx, got)
}

func (s *stage) services() (names []string) {
	for _, in := range s.instances {
		names = append(names, in.spec.Service)
	}
	return names
}

type weights struct{ Passing, Warning int }

func (s *stage) askHealth(ctx context.Context, service string, got, written shown) error {
	type indexes struct{ CreateIndex, ModifyIndex uint64 }
	var entries []struct {
		Service struct {
			indexes

			ID, Address string
			Port        int
			Tags        []string
			Weights     weights
		}
		Checks []struct {
			indexes

			Status, Output string
		}
	}
	if err := s.consul.Call(ctx, http.MethodGet, "/v1/health/service/"+service, nil, &entries); err != nil {
		return err
	}
	for _, e := range entries {
		id := strings.TrimPrefix(e.Service.ID, "prism:"+service+":")
		of := service + "/" + id
		words := []string{described(fmt.Sprintf("%s:%d", e.Service.Address, e.Service.Port), e.Service.Weights.Passing, e.Service.Tags)}
		when := []indexes{e.Service.indexes}
		for _, c := range e.Checks {
			words, when = append(words, c.Status+", "+c.Output), append(when, c.indexes)
		}
		got["health "+of], written["last written "+of] = strings.Join(words, " "), fmt.Sprint(when)
	}
	return nil
}

func (s *stage) askCatalog(ctx context.Context, service string, got shown) error {
	var entries []struct {
		ServiceID, ServiceAddress string
		ServicePort               int
		ServiceTags               []string
		ServiceWeights            weights
	}
	if err := s.consul.Call(ctx, http.MethodGet, "/v1/catalog/service/"+service, nil, &entries); err != nil {
		return err
	}
	for _, e := range entries {
		id := strings.TrimPrefix(e.ServiceID, "prism:"+service+":")
		got["catalog "+service+"/"+id] = described(fmt.Sprintf("%s:%d", e.ServiceAddress, e.ServicePort), e.ServiceWeights.Passing, e.ServiceTags)
	}
	return nil
}

// askUI asks what the list of services in the UI asks.
func (s *stage) askUI(ctx context.Context, got shown) error {
	var services []struct {
		Name                                         string
		Tags                                         []string
		InstanceCount, ChecksPassing, ChecksCritical int
	}
	if err := s.consul.Call(ctx, http.MethodGet, "/v1/internal/ui/services", nil, &services); err != nil {
		return err
	}
	for _, v := range services {
		if v.Name != "consul" {
			got["UI "+v.Name] = summed(v.InstanceCount, v.ChecksPassing, v.ChecksCritical, v.Tags)
		}
	}
	return nil
}

func (s *stage) askSRV(ctx context.Context, name string) (string, error) {
	_, answers, err := s.resolver().LookupSRV(ctx, "", "", name+".service.consul.")
	if err != nil {
		return nobody(err)
	}
	var list []string
	for _, a := range answers {
		hosts, err := s.resolver().LookupHost(ctx, a.Target)
		if err != nil {
			return "", err
		}
		list = append(list, target(strings.Join(hosts, " and "), a.Port, a.Weight))
	}
	return listed(list), nil
}

func (s *stage) askA(ctx context.Context, name string) (string, error) {
	hosts, err := s.resolver().LookupHost(ctx, name+".service.consul.")
	if err != nil {
		return nobody(err)
	}
	return listed(hosts), nil
}

// nobody is the answer of DNS that there is nothing of a name.
func nobody(err error) (string, error) {
	var of *net.DNSError
	if errors.As(err, &of) && of.IsNotFound {
		return listed(nil), nil
	}
	return "", err
}

func (s *stage) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.consul.DNS())
	}}
}

func described(address string, weight int, tags []string) string {
	return fmt.Sprintf("%s weight %d tags %q", address, weight, tags)
}

func summed(instances, passing, critical int, tags []string) string {
	return fmt.Sprintf("%d instances, %d passing, %d critical, tags %q", instances, passing, critical, sortedSet(tags))
}

func target(host string, port, weight uint16) string {
	return fmt.Sprintf("%s:%d weight %d", host, port, weight)
}

func listed(list []string) string {
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(slices.Sorted(slices.Values(list)), ", ")
}

func sortedSet(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }
