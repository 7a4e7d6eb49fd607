package bench_test

// grpcwrr_test.go: grpc-go's weighted_round_robin, driven as a channel would drive it but
// without a network: sub-connections become ready at once, and load reports give the weights.

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	v3orcapb "github.com/cncf/xds/go/xds/data/orca/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"
)

// channel stands for the grpc.ClientConn that a balancer works for. What a channel would do on
// its own goroutine runs beside the balancer, which holds back updates of its picker while it
// takes in endpoints. The last one waits for the others, so that most become ready in that
// time: else the set-up costs the square of their number.
type channel struct {
	balancer.ClientConn
	size, made int

	calls sync.WaitGroup

	mu     sync.Mutex
	picker balancer.Picker
}

func (c *channel) UpdateState(s balancer.State)            { c.picker = s.Picker }
func (c *channel) Target() string                          { return "bench" }
func (c *channel) ResolveNow(resolver.ResolveNowOptions)   {}
func (c *channel) RemoveSubConn(balancer.SubConn)          {}
func (c *channel) MetricsRecorder() estats.MetricsRecorder { return recorder{} }

func (c *channel) NewSubConn(_ []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	c.made++
	return &subConn{channel: c, listen: opts.StateListener, last: c.made == c.size}, nil
}

// settled waits until nothing happens any more and returns the picker.
func (c *channel) settled() balancer.Picker {
	c.calls.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.picker
}

type subConn struct {
	balancer.SubConn
	channel *channel
	listen  func(balancer.SubConnState)
	last    bool
}

func (s *subConn) Connect() {
	if s.last {
		s.channel.calls.Wait()
	}
	s.channel.calls.Go(func() {
		s.listen(balancer.SubConnState{ConnectivityState: connectivity.Connecting})
		s.listen(balancer.SubConnState{ConnectivityState: connectivity.Ready})
	})
}

func (s *subConn) RegisterHealthListener(listen func(balancer.SubConnState)) {
	s.channel.calls.Go(func() { listen(balancer.SubConnState{ConnectivityState: connectivity.Ready}) })
}

func (s *subConn) UpdateAddresses([]resolver.Address) {}
func (s *subConn) Shutdown()                          {}

// recorder drops metrics.
type recorder struct{ estats.MetricsRecorder }

func (recorder) RecordInt64Count(*estats.Int64CountHandle, int64, ...string)             {}
func (recorder) RecordFloat64Count(*estats.Float64CountHandle, float64, ...string)       {}
func (recorder) RecordInt64Histo(*estats.Int64HistoHandle, int64, ...string)             {}
func (recorder) RecordFloat64Histo(*estats.Float64HistoHandle, float64, ...string)       {}
func (recorder) RecordInt64Gauge(*estats.Int64GaugeHandle, int64, ...string)             {}
func (recorder) RecordInt64UpDownCount(*estats.Int64UpDownCountHandle, int64, ...string) {}

// grpcPicker builds a picker over n endpoints whose load reports give them the same weights
// as Prism's candidates have.
func grpcPicker(tb testing.TB, n int) balancer.Picker {
	tb.Helper()
	builder := balancer.Get(weightedroundrobin.Name)
	parser, ok := builder.(balancer.ConfigParser)
	require.True(tb, ok)
	cfg, err := parser.ParseConfig(json.RawMessage(`{"blackoutPeriod":"0s","weightExpirationPeriod":"3600s","weightUpdatePeriod":"3600s"}`))
	require.NoError(tb, err)
	ch := &channel{size: n}
	b := builder.Build(ch, balancer.BuildOptions{})
	tb.Cleanup(b.Close)
	state := balancer.ClientConnState{BalancerConfig: cfg}
	for i := range n {
		state.ResolverState.Endpoints = append(state.ResolverState.Endpoints,
			resolver.Endpoint{Addresses: []resolver.Address{{Addr: fmt.Sprintf("127.0.0.1:%d", i)}}})
	}
	require.NoError(tb, b.UpdateClientConnState(state))
	p := ch.settled()
	for i := range n { // without weights it goes round robin: each endpoint reports once
		res, err := p.Pick(balancer.PickInfo{Ctx: tb.Context()})
		require.NoError(tb, err)
		res.Done(balancer.DoneInfo{ServerLoad: &v3orcapb.OrcaLoadReport{RpsFractional: float64(weight(i)), CpuUtilization: 1}})
	}
	require.NoError(tb, b.UpdateClientConnState(state)) // makes a picker with the weights
	return ch.settled()
}
