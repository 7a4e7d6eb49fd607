package httpapi

// prometheus.go: an instance as a target of Prometheus' http_sd_config
// (https://prometheus.io/docs/prometheus/latest/http_sd/).

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/marketprism/prism/core"
)

type targetGroup struct {
	Targets []string          `json:"targets" nullable:"false" doc:"One address." example:"[\"10.0.0.7:9090\"]"`
	Labels  map[string]string `json:"labels" doc:"All begin with __meta_prism_: they are there for relabelling."`
}

const labelPrefix = "__meta_prism_"

// target describes one instance. Metadata that is no object or array becomes a label each,
// characters that labels cannot hold turned into _.
func target(in core.Instance) targetGroup {
	address, scheme := in.Address(), in.Scheme
	if e, ok := in.Endpoints.Get("metrics"); ok {
		address, scheme = core.JoinAddress(e.Host, e.Port), e.Scheme
	}
	labels := map[string]string{
		"namespace": in.Namespace, "service": in.Service, "id": in.ID, "address": in.Address(), "scheme": scheme,
		"version": in.Version, "region": in.Region, "zone": in.Zone, "datacenter": in.Datacenter,
		"weight": strconv.Itoa(in.Weight), "status": string(in.Status()),
		// Commas at both ends let a regular expression match whole tags.
		"tags": "," + strings.Join(in.Tags.Strings(), ",") + ",",
	}
	out := targetGroup{Targets: []string{address}, Labels: make(map[string]string, len(labels))}
	for name, value := range labels {
		out.Labels[labelPrefix+name] = value
	}
	all := in.Metadata.Map()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch all[name].(type) {
		case map[string]any, []any, nil:
			continue
		}
		label := labelPrefix + "metadata_" + labelName(name)
		if _, taken := out.Labels[label]; taken {
			continue // Of names that are one label, the first has it at each scrape.
		}
		out.Labels[label], _ = in.Metadata.Get(name)
	}
	return out
}

func labelName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, s)
}
