package balance_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/balance"
)

func instance(change func(*core.Instance)) core.Instance {
	in := core.Instance{
		Service: "web", ID: "a", Weight: 100,
		State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedHealthy},
	}
	if change != nil {
		change(&in)
	}
	return in
}

func observed(o core.Observed) core.Instance {
	return instance(func(in *core.Instance) { in.State.Observed = o })
}

func suspect(o core.Observed) core.Instance {
	return instance(func(in *core.Instance) { in.State.Observed, in.Suspect = o, true })
}

func declared(d core.Declared, reason string) core.Instance {
	return instance(func(in *core.Instance) { in.State.Declared, in.State.Reason = d, reason })
}

func TestJudge(t *testing.T) {
	healthy, unknown, unhealthy := observed(core.ObservedHealthy), observed(core.ObservedUnknown), observed(core.ObservedUnhealthy)
	filter, err := core.ParseFilter(`zone == "a"`)
	require.NoError(t, err)
	inZone := instance(func(in *core.Instance) { in.Zone, in.State.Observed = "a", core.ObservedUnknown })
	required := balance.Rules{HealthRequired: true}
	panicky := balance.Rules{HealthRequired: true, PanicThreshold: 0.5}

	for name, tc := range map[string]struct {
		rules     balance.Rules
		instances []core.Instance
		want      []balance.Verdict
	}{
		"healthy ones only": {required, []core.Instance{healthy, unknown, unhealthy}, []balance.Verdict{
			{Eligible: true, Reason: "healthy"}, {Reason: "unknown, and there are healthy ones"}, {Reason: "unhealthy"},
		}},
		"unknown when none is healthy": {required, []core.Instance{unknown, unhealthy, suspect(core.ObservedUnknown)}, []balance.Verdict{
			{Eligible: true, Reason: "unknown, but there are no healthy ones"},
			{Reason: "unhealthy"},
			{Reason: "unknown and suspect, and there are better ones"},
		}},
		"unhealthy never": {required, []core.Instance{unhealthy, unhealthy}, []balance.Verdict{{Reason: "unhealthy"}, {Reason: "unhealthy"}}},
		"suspect after healthy": {required, []core.Instance{healthy, suspect(core.ObservedHealthy)}, []balance.Verdict{
			{Eligible: true, Reason: "healthy"}, {Reason: "suspect, and there are healthy ones that are not"},
		}},
		"suspect before unknown": {required, []core.Instance{unknown, suspect(core.ObservedHealthy)}, []balance.Verdict{
			{Reason: "unknown, and there are healthy ones"},
			{Eligible: true, Reason: "suspect, but there are no healthy ones that are not"},
		}},
		"unknown and suspect last": {required, []core.Instance{suspect(core.ObservedUnknown), unhealthy}, []balance.Verdict{
			{Eligible: true, Reason: "unknown and suspect, but there are no better ones"}, {Reason: "unhealthy"},
		}},
		"declared states": {required, []core.Instance{
			declared(core.DeclaredMaintenance, "disk swap"), declared(core.DeclaredStarting, ""), declared(core.DeclaredStopping, ""),
		}, []balance.Verdict{{Reason: "status maintenance: disk swap"}, {Reason: "status starting"}, {Reason: "status stopping"}}},
		"declared states without health": {balance.Rules{}, []core.Instance{
			declared(core.DeclaredMaintenance, ""), declared(core.DeclaredStarting, ""), declared(core.DeclaredStopping, ""),
		}, []balance.Verdict{{Reason: "status maintenance"}, {Reason: "status starting"}, {Reason: "status stopping"}}},
		"health not required": {balance.Rules{}, []core.Instance{healthy, unknown, unhealthy, suspect(core.ObservedHealthy)}, []balance.Verdict{
			{Eligible: true, Reason: "health is not required"},
			{Eligible: true, Reason: "health is not required"},
			{Eligible: true, Reason: "health is not required"},
			{Reason: "suspect, and there are others that are not"},
		}},
		"weight 0": {required, []core.Instance{instance(func(in *core.Instance) { in.Weight = 0 }), unknown}, []balance.Verdict{
			{Reason: "weight 0"}, {Eligible: true, Reason: "unknown, but there are no healthy ones"},
		}},
		"a filter judges within itself": {balance.Rules{HealthRequired: true, Filter: filter}, []core.Instance{healthy, inZone}, []balance.Verdict{
			{Reason: "filtered out"}, {Eligible: true, Reason: "unknown, but there are no healthy ones"},
		}},
		"panic": {panicky, []core.Instance{healthy, unhealthy, unknown, declared(core.DeclaredMaintenance, "")}, []balance.Verdict{
			{Eligible: true, Reason: "panic: only 1 of 3 healthy, so health is ignored", Panic: true},
			{Eligible: true, Reason: "panic: only 1 of 3 healthy, so health is ignored", Panic: true},
			{Eligible: true, Reason: "panic: only 1 of 3 healthy, so health is ignored", Panic: true},
			{Reason: "status maintenance"},
		}},
		"no panic at the threshold": {panicky, []core.Instance{healthy, unhealthy}, []balance.Verdict{
			{Eligible: true, Reason: "healthy"}, {Reason: "unhealthy"},
		}},
		"nobody": {panicky, nil, []balance.Verdict{}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, balance.Judge(tc.instances, tc.rules))
		})
	}
}
