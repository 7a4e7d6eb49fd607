package conformance

// cases_names.go: names that a store's own syntax might trip over, and namespaces.

import (
	"fmt"
	"strings"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// lookalikes are keys whose names begin, end or join like one another.
var lookalikes = []core.Key{
	key("a", "b"), key("a", "b.c"), key("a.b", "c"), key("a", "b-c"), key("a-b", "c"), key("a_b", "c"), key("ab", "c"), key("a", "bc"),
	key("A", "b"), key("a", "B"), key("a.", "b"), key("a..", "b"), key("a", "b."), key("a-", "b"), key("a_", "b"), key("a", "b_"),
	key("0", "0"), key("00", "0"), key("0", "00"), key("z", "z"), key("zz", "zebra"), key("zz.z-z_z", "z"),
	key("instances", "instances"), key("sessions", "epoch"), key("tombstones", "log"), key("con", "nul"), key("2e", "2F"), key("x.2e", "x_2f"),
	key(strings.Repeat("n", core.MaxName), strings.Repeat("i", core.MaxName)),
	key(strings.Repeat("n", core.MaxName), strings.Repeat("i", core.MaxName-1)),
	key(strings.Repeat("n", core.MaxName-1), strings.Repeat("i", core.MaxName)),
	key("d"+strings.Repeat(".", core.MaxName-1), "u"+strings.Repeat("_", core.MaxName-1)),
}

var nameCases = []scenario{
	{
		id:          "names/distinct",
		requirement: "A name is 1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit; records of different names never meet.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			st := s.follow(s.second())
			var recs []*ports.Record
			for _, k := range lookalikes {
				recs = append(recs, s.create(s.host, record(k, sess.ID)))
			}
			for i, found := range s.get(s.second(), lookalikes...) {
				s.mustEqual(found.Record, recs[i], "Get of "+lookalikes[i].String())
			}
			st.fence(s.host)
			st.agrees(s.host, lookalikes...)
			listed := s.list(s.second()).records
			s.must(len(listed) == len(recs)+1, fmt.Sprintf("%d records, and the fence", len(recs)), len(listed))
		},
	},
	{
		id:          "names/services",
		requirement: "A watch of a service gives its records, and not those of services whose names begin or end like its own.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			of := make(map[string]int)
			for _, k := range lookalikes {
				s.create(s.host, record(k, sess.ID))
				of[k.Service]++
			}
			for service, n := range of {
				listed := s.list(s.second(), service).records
				s.must(len(listed) == n, fmt.Sprintf("%d records of %q", n, service), len(listed))
				for k := range listed {
					s.must(k.Service == service, "records of "+service+" alone", k)
				}
			}
		},
	},
	{
		id:          "names/sessions",
		requirement: "Sessions of different ids never meet, however alike they look.",
		run: func(s *scene) {
			base := string(newSessionID())
			ids := []ports.SessionID{
				ports.SessionID(base), ports.SessionID(base + "."), ports.SessionID(base + "-a"), ports.SessionID(base + "_a.b"),
				ports.SessionID(base + strings.Repeat("x", core.MaxName-len(base))),
			}
			var recs []*ports.Record
			for i, id := range ids {
				sess, err := s.host.OpenSession(s.ctx, sessionSpec(id, longTTL))
				s.must(err == nil && sess.ID == id, "a session "+string(id), sess, err)
				recs = append(recs, s.create(s.host, record(key("svc", fmt.Sprintf("id-%d", i)), id)))
			}
			for i, id := range ids {
				err := s.second().CloseSession(s.ctx, id)
				s.must(err == nil, "the session closes", err)
				s.gone(s.host, recs[i].Key)
				for _, left := range recs[i+1:] {
					s.stands(s.host, left)
				}
			}
		},
	},
	{
		id:          "names/namespaces",
		requirement: "Namespaces isolate: records, sessions and watches of one are not those of another, also where one name begins like the other.",
		run: func(s *scene) {
			id := newSessionID()
			k := key("svc", "a")
			names := []string{s.namespace, s.namespace + "-a", s.namespace + ".a", s.namespace + "a"}
			var hosts []ports.Backend
			var recs []*ports.Record
			var streams []*stream
			for i, name := range names {
				b := s.host
				if i > 0 {
					b = s.open(name)
				}
				s.gone(b, k)
				_, err := b.OpenSession(s.ctx, sessionSpec(id, longTTL))
				s.must(err == nil, "the same session id opens in "+name, err)
				rec := record(k, id)
				rec.Owner = name
				hosts, recs = append(hosts, b), append(recs, s.create(b, rec))
				streams = append(streams, s.follow(b))
			}
			for i, b := range hosts {
				s.stands(b, recs[i])
				listed := s.list(b).records
				s.must(len(listed) == 1, "one record in "+names[i], len(listed))
			}
			err := hosts[0].CloseSession(s.ctx, id)
			s.must(err == nil, "the session closes", err)
			s.gone(hosts[0], k)
			for i, b := range hosts {
				streams[i].fence(b)
				s.must((streams[i].deleted[k] != nil) == (i == 0), "the record of the first namespace alone goes", streams[i].events)
				if i > 0 {
					s.stands(b, recs[i])
				}
			}
		},
	},
}
