package conformance

// cases_domain.go: what people see of a backend. One recorded trace of paced operations by two
// hosts, over the core; their events, without what differs from run to run, must be byte for
// byte the same on every backend.

import (
	"context"
	_ "embed" // of testdata/transcript.txt
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/ports"
)

//go:embed testdata/transcript.txt
var transcript string

var domainCases = []scenario{
	{
		id:          "domain/transcript",
		requirement: "What two hosts see of the same operations is the same, byte for byte, on every backend.",
		run: func(s *scene) {
			came := strings.Split(s.perform(), "\n")
			want := strings.Split(transcript, "\n")
			for i := range max(len(came), len(want)) {
				line := func(of []string) string {
					if i < len(of) {
						return of[i]
					}
					return "the end"
				}
				s.must(line(came) == line(want), fmt.Sprintf("line %d of the transcript is %q", i+1, line(want)), line(came), "all of it:\n"+strings.Join(came, "\n"))
			}
		},
	},
}

// borrowed is a backend that its user does not close: the scene does.
type borrowed struct{ ports.Backend }

func (borrowed) Close() error { return nil }

// performer is one host of the transcript.
type performer struct {
	*discovery.Client

	name string
	sub  *discovery.Subscription
}

// stage is the transcript at work.
type stage struct {
	s     *scene
	a, b  *performer
	lines []string
}

func (s *scene) perform() string {
	s.Helper()
	st := &stage{s: s}
	st.a, st.b = st.host("A", s.host), st.host("B", s.second())
	leases := make(map[string]string)

	st.act("A registers api/one", 1, 1, func(ctx context.Context) error {
		got, err := st.a.RegisterInstance(ctx, discovery.RegisterRequest{Spec: spec("api", "one", 8080), Keepalive: core.KeepaliveAuto})
		leases["one"] = got.Lease
		return err
	})
	st.act("A registers api/two, which is starting", 1, 1, func(ctx context.Context) error {
		starting := spec("api", "two", 8081)
		starting.Status = "starting"
		got, err := st.a.RegisterInstance(ctx, discovery.RegisterRequest{Spec: starting, Keepalive: core.KeepaliveAuto})
		leases["two"] = got.Lease
		return err
	})
	st.act("B registers web/one for a client", 1, 1, func(ctx context.Context) error {
		client := spec("web", "one", 80)
		client.TTL = time.Minute
		got, err := st.b.RegisterInstance(ctx, discovery.RegisterRequest{Spec: client, Keepalive: core.KeepaliveClient})
		leases["web"] = got.Lease
		return err
	})
	st.act("the owner of api/one changes its description", 1, 1, func(ctx context.Context) error {
		changed := spec("api", "one", 9090)
		changed.Metadata = discovery.MustMetadata(map[string]any{"color": "blue", "nested": map[string]any{"ü": []any{1, "<&>"}}})
		_, err := st.a.UpdateInstance(ctx, discovery.UpdateRequest{Lease: leases["one"], Spec: changed})
		return err
	})
	st.act("the owner of api/two is up", 1, 1, func(ctx context.Context) error {
		_, err := st.a.SetStatus(ctx, discovery.StatusRequest{Key: key("api", "two"), Lease: leases["two"], Status: "up"})
		return err
	})
	st.act("an operator at B puts api/two into maintenance", 1, 1, func(ctx context.Context) error {
		_, err := st.b.SetStatus(ctx, discovery.StatusRequest{Key: key("api", "two"), Status: "maintenance", Actor: "ops", Reason: "disk „7“"})
		return err
	})
	st.act("a newer registration of api/two at B", 2, 1, func(ctx context.Context) error {
		got, err := st.b.RegisterInstance(ctx, discovery.RegisterRequest{Spec: spec("api", "two", 8082), Keepalive: core.KeepaliveAuto})
		leases["two"] = got.Lease
		return err
	})
	st.act("the operator ends the maintenance at A", 1, 1, func(ctx context.Context) error {
		_, err := st.a.SetStatus(ctx, discovery.StatusRequest{Key: key("api", "two"), Status: "up", Actor: "ops", Reason: "done"})
		return err
	})
	st.act("the owner of web/one drains it", 1, 1, func(ctx context.Context) error {
		_, err := st.b.SetStatus(ctx, discovery.StatusRequest{Key: key("web", "one"), Lease: leases["web"], Status: "stopping", Reason: "deploy"})
		return err
	})
	st.act("the owner of web/one deregisters it", 1, 1, func(ctx context.Context) error {
		return st.b.Deregister(ctx, discovery.DeregisterRequest{Key: key("web", "one"), Lease: leases["web"], Reason: "deploy"})
	})
	st.act("an operator at B deregisters api/one", 1, 1, func(ctx context.Context) error {
		return st.b.Deregister(ctx, discovery.DeregisterRequest{Key: key("api", "one"), Actor: "ops", Reason: "no longer needed"})
	})
	st.act("api/one registers again at B", 1, 1, func(ctx context.Context) error {
		_, err := st.b.RegisterInstance(ctx, discovery.RegisterRequest{Spec: spec("api", "one", 8080), Keepalive: core.KeepaliveAuto})
		return err
	})
	st.act("batch/one registers with a ttl and never says a word again", 2, 2, func(ctx context.Context) error {
		silent := spec("batch", "one", 7000)
		silent.TTL = core.MinTTL
		_, err := st.a.RegisterInstance(ctx, discovery.RegisterRequest{Spec: silent, Keepalive: core.KeepaliveClient})
		return err
	})
	var third ports.SessionID
	var join func(gen core.Generation, ttl time.Duration) func(ctx context.Context) error
	join = func(gen core.Generation, ttl time.Duration) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			sess, began, err := openNew(ctx, s.host, ttl)
			if err != nil {
				return err
			}
			third = sess.ID
			rec := record(key("cron", "one"), third)
			rec.Generation = gen
			rec.Body = []byte(`{"v":1,"host":"10.0.0.9","port":9,"scheme":"http","version":"3.0.0","region":"eu","datacenter":"dc","weight":5,"keepalive":"auto","ttl":"60s"}`)
			results, err := applyAll(ctx, s.host, []ports.Mutation{put(rec)})
			if err != nil {
				return err
			}
			if errors.Is(results[0].Err, ports.ErrSessionGone) && time.Since(began) >= sess.TTL {
				return join(gen, 2*ttl)(ctx) // the machine was too busy to use the session in time
			}
			return results[0].Err
		}
	}
	st.act("a third process registers cron/one, and dies", 2, 2, join(core.Generation{N: 1, Random: "first"}, s.shortTTL()))
	st.act("it registers again", 1, 1, join(core.Generation{N: 2, Random: "second"}, longTTL))
	st.act("and ends as it should", 1, 1, func(ctx context.Context) error { return s.host.CloseSession(ctx, third) })
	st.close(st.a)
	st.close(st.b)
	return strings.Join(st.lines, "\n") + "\n"
}

func spec(service, id string, port int) discovery.Spec {
	return discovery.Spec{
		Service: service, ID: id, Host: "10.0.0.7", Port: port, Version: "1.2.3", Region: "eu", Zone: "eu-1", Weight: new(7),
		Tags: []string{"b", "a"}, Metadata: discovery.MustMetadata(map[string]any{"color": "green"}),
	}
}

func (st *stage) host(name string, b ports.Backend) *performer {
	st.s.Helper()
	c, err := discovery.Open(st.s.ctx, borrowed{b}, discovery.WithSessionTTL(time.Minute), discovery.WithDrainTimeout(0), discovery.WithCleanupInterval(time.Hour))
	st.s.must(err == nil, "the core opens on the backend", err)
	st.s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(st.s.ctx), waitLimit)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			st.s.Errorf("close the core: %v", err)
		}
	})
	sub, err := c.Subscribe(discovery.SubscribeOptions{})
	st.s.must(err == nil, "events are followed", err)
	st.s.Cleanup(sub.Close)
	return &performer{Client: c, name: name, sub: sub}
}

// act does something and waits until both hosts have seen what comes of it: so many events.
func (st *stage) act(what string, atA, atB int, do func(ctx context.Context) error) {
	st.s.Helper()
	st.lines = append(st.lines, what)
	err := do(st.s.ctx)
	st.s.must(err == nil, what, err)
	st.await(st.a, atA, what)
	st.await(st.b, atB, what)
}

func (st *stage) await(p *performer, events int, what string) {
	st.s.Helper()
	ctx, cancel := context.WithTimeout(st.s.ctx, waitLimit)
	defer cancel()
	for events > 0 {
		item, err := p.sub.Next(ctx)
		st.s.must(err == nil && !item.Reset && item.Lagged == 0, fmt.Sprintf("%s: %s sees %d more events", what, p.name, events), err, "so far:\n"+strings.Join(st.lines, "\n"))
		if item.Event.Service == "" {
			continue // of the backend: a busy machine may seem away for a moment
		}
		st.note(p, item.Event)
		events--
	}
}

// close asks that nothing else was seen.
func (st *stage) close(p *performer) {
	st.s.Helper()
	noted := 0
	for _, line := range st.lines {
		if strings.HasPrefix(line, "  "+p.name+" ") {
			noted++
		}
	}
	all, _, _, err := p.Events(discovery.HistoryQuery{Limit: 1000})
	st.s.must(err == nil, "the history is read", err)
	for _, ev := range all {
		if ev.Service == "" {
			continue
		}
		if noted--; noted < 0 {
			st.note(p, ev)
		}
	}
}

func (st *stage) note(p *performer, ev discovery.Event) {
	in := ev.Instance
	st.lines = append(st.lines, fmt.Sprintf("  %s %s %s/%s: %s → %s, cause %s, by %q, reason %q; %s:%d version %s region %s zone %s weight %d tags %v metadata %s",
		p.name, ev.Type, ev.Service, ev.ID, ev.OldStatus, ev.NewStatus, ev.Cause, ev.Actor, ev.Reason,
		in.Host, in.Port, in.Version, in.Region, in.Zone, in.Weight, in.Tags.Strings(), in.Metadata))
}
