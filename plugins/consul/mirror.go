package consul

// mirror.go: Prism's instances as Consul's catalog shows them: in the UI, in DNS and in the
// health API. They hang on external nodes, as agents remove from their own nodes what they do
// not know; on several, as each write costs Consul time in proportion to the checks of its
// node. The truth is in the KV store; this is written with it, in one transaction.

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// What the catalog takes.
const (
	maxMetaPairs = 64
	maxMetaKey   = 128
	maxMetaValue = 512
	// maxOutput is how much of a reason a check shows.
	maxOutput = 1 << 10
)

var (
	dnsLabel = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	metaKey  = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
)

// mirror makes catalog operations for one namespace.
type mirror struct{ namespace, consulNamespace, partition string }

// nodeCount is how many nodes the instances of a namespace are spread over at the most.
const nodeCount = 64

func (m mirror) nodes() string { return "prism-" + m.namespace + "-" }

// node is where an instance is shown.
func (m mirror) node(k core.Key) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.String())) // It never fails.
	return m.nth(h.Sum32() % nodeCount)
}

func (m mirror) nth(n uint32) string { return fmt.Sprintf("%s%02x", m.nodes(), n) }

// serviceID is unique on the node: a colon is no character of a name.
func (m mirror) serviceID(k core.Key) string { return "prism:" + k.Service + ":" + k.ID }

// nodeSet makes sure that a node is there. Writing it again changes nothing. Its address is
// none that anybody reaches: every service has one of its own.
func (m mirror) nodeSet(node string) *api.TxnOp {
	return &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{
		Node: node, Address: "127.0.0.1", Partition: m.partition,
		Meta: map[string]string{"external-node": "true", "external-probe": "false", "prism-namespace": m.namespace},
	}}}
}

// ops are the operations that carry a change into the catalog: none where nothing of it shows.
func (m mirror) ops(k core.Key, was, will *ports.Record, refused bool) []*api.TxnOp {
	if !dnsLabel.MatchString(k.Service) {
		return nil
	}
	service, check, shown := m.show(will)
	if !shown || refused {
		if was == nil && !refused {
			return nil
		}
		return []*api.TxnOp{m.remove(k)}
	}
	oldService, oldCheck, wasShown := m.show(was)
	var ops []*api.TxnOp
	if !wasShown || !same(service, oldService) {
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: m.node(k), Service: *service}})
	}
	if len(ops) > 0 || !same(check, oldCheck) {
		ops = append(ops, &api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: *check}})
	}
	return ops
}

func same(a, b any) bool {
	x, _ := json.Marshal(a) // Plain values always marshal.
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// remove takes an instance, with its check, out of the catalog.
func (m mirror) remove(k core.Key) *api.TxnOp {
	return &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceDelete, Node: m.node(k), Service: api.AgentService{
		ID: m.serviceID(k), Service: k.Service, Namespace: m.consulNamespace, Partition: m.partition,
	}}}
}

// show is a record in the catalog's terms; false where it cannot be shown.
func (m mirror) show(r *ports.Record) (*api.AgentService, *api.HealthCheck, bool) {
	if r == nil || !dnsLabel.MatchString(r.Key.Service) {
		return nil, nil, false
	}
	in := core.Instance{Namespace: m.namespace, Service: r.Key.Service, ID: r.Key.ID, State: r.State}
	if _, err := core.DecodeBody(r.Body, &in); err != nil {
		return nil, nil, false // It is stored all the same; readers report it.
	}
	status, output := health(in)
	weight := max(in.Weight, 1) // The catalog knows no 0.
	service := &api.AgentService{
		ID: m.serviceID(r.Key), Service: in.Service, Tags: in.Tags.Strings(), Address: in.Host, Port: in.Port,
		Meta: metadata(in), Weights: api.AgentWeights{Passing: weight, Warning: weight},
		Namespace: m.consulNamespace, Partition: m.partition,
	}
	check := &api.HealthCheck{
		Node: m.node(r.Key), CheckID: m.serviceID(r.Key), Name: "Prism's status", Status: status, Output: output, Type: "external",
		ServiceID: service.ID, ServiceName: service.Service, Namespace: m.consulNamespace, Partition: m.partition,
	}
	return service, check, true
}

// health is a status in the catalog's terms. What no check has judged is passing, as it is
// with Consul; an instance of weight 0 takes no traffic, which Consul can say only so.
func health(in core.Instance) (status, output string) {
	output = string(in.Status())
	if in.State.Reason != "" {
		output += ": " + in.State.Reason
	}
	if len(output) > maxOutput {
		output = strings.ToValidUTF8(output[:maxOutput], "") + "…"
	}
	switch {
	case in.Weight == 0:
		return api.HealthCritical, "weight 0, " + output
	case in.Status() == core.StatusHealthy, in.Status() == core.StatusUnknown:
		return api.HealthPassing, output
	default:
		return api.HealthCritical, output
	}
}

// metadata is what fits of an instance's metadata, and what the catalog has no field for.
func metadata(in core.Instance) map[string]string {
	meta := make(map[string]string)
	add := func(name, value string) {
		if value != "" && len(meta) < maxMetaPairs && len(name) <= maxMetaKey && len(value) <= maxMetaValue &&
			metaKey.MatchString(name) && !strings.HasPrefix(strings.ToLower(name), "consul-") {
			meta[name] = value
		}
	}
	for _, own := range [][2]string{
		{"prism-id", in.ID},
		{"prism-namespace", in.Namespace},
		{"prism-scheme", in.Scheme},
		{"prism-version", in.Version},
		{"prism-region", in.Region},
		{"prism-zone", in.Zone},
		{"prism-datacenter", in.Datacenter},
	} {
		add(own[0], own[1])
	}
	all := in.Metadata.Map()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, taken := meta[name]; taken {
			continue
		}
		if text, ok := all[name].(string); ok {
			add(name, text)
		} else if encoded, err := json.Marshal(all[name]); err == nil {
			add(name, string(encoded))
		}
	}
	return meta
}
