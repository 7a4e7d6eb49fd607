//go:build unix

package e2e

// etcd_test.go: why etcd refuses to serve.

import (
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/marketprism/prism/tools/stores"
)

const etcdSecret = "secret-of-the-user"

type fields map[string]any

// encoded is how etcd's JSON has bytes.
func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// etcdRights are those that the README of the backend lists, of all keys that begin with prism/.
func etcdRights() fields {
	return fields{"name": "narrow", "perm": fields{"permType": "READWRITE", "key": encoded("prism/"), "range_end": encoded("prism0")}}
}

// etcdTroubles are those of one etcd whose user may do what the README lists.
var etcdTroubles = map[string]func(t *testing.T) trouble{
	"permission": func(t *testing.T) trouble {
		t.Helper()
		on, of := etcdFor(t, 0)
		of.exits, of.words = true, []string{"the user in backend_config.username lacks a permission", "grant its role readwrite on all keys of the namespace"}
		of.begin = func(t *testing.T) {
			t.Helper()
			on.do(t, "auth/role/revoke", fields{"role": "narrow", "key": encoded("prism/"), "range_end": encoded("prism0")}, nil)
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			on.do(t, "auth/role/grant", etcdRights(), nil)
		}
		return of
	},
	"user": func(t *testing.T) trouble {
		t.Helper()
		on, of := etcdFor(t, 0)
		of.exits, of.words = true, []string{"backend_config.username"}
		of.begin = func(t *testing.T) {
			t.Helper()
			on.do(t, "auth/user/delete", fields{"name": "narrow"}, nil)
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			on.addUser(t)
		}
		return of
	},
	"space": func(t *testing.T) trouble {
		t.Helper()
		on, of := etcdFor(t, 4<<20)
		of.words = []string{"space quota", "is exhausted, so it takes no writes", "compact and defragment it", "--quota-backend-bytes", "etcdctl alarm disarm"}
		of.begin = func(t *testing.T) {
			t.Helper()
			for i := 0; ; i++ {
				require.Less(t, i, 10, "4 MB are full with less")
				err := on.Call(t.Context(), http.MethodPost, "/v3/kv/put", fields{"key": encoded("other"), "value": encoded(strings.Repeat("x", 1<<20))}, nil)
				if err != nil {
					require.ErrorContains(t, err, "database space exceeded")
					return
				}
			}
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			var now struct{ Header struct{ Revision string } }
			on.do(t, "kv/range", fields{"key": encoded("other"), "count_only": true}, &now)
			on.do(t, "kv/compaction", fields{"revision": now.Header.Revision, "physical": true}, nil)
			on.do(t, "maintenance/defragment", fields{}, nil)
			var raised struct{ Alarms []struct{ MemberID string } }
			on.do(t, "maintenance/alarm", fields{"action": "GET"}, &raised)
			require.Len(t, raised.Alarms, 1)
			on.do(t, "maintenance/alarm", fields{"action": "DEACTIVATE", "alarm": "NOSPACE", "memberID": raised.Alarms[0].MemberID}, nil)
		}
		return of
	},
}

// etcdRefusals are etcd servers that no host can use.
var etcdRefusals = map[string]func(t *testing.T) trouble{
	"version": func(t *testing.T) trouble {
		t.Helper()
		at := oldEtcd(t, "3.3.27")
		return trouble{options: []string{"url", "http://" + at}, words: []string{at, "version 3.3.27", "upgrade it to 3.4.25, 3.5.8 or later", "backend_config.url"}}
	},
	"foreign": func(t *testing.T) trouble {
		t.Helper()
		on, of := etcdFor(t, 0)
		on.do(t, "kv/put", fields{"key": encoded("prism/config"), "value": encoded("mine")}, nil)
		of.words = []string{"prism/config", "choose a namespace that nothing else uses", "backend_config.namespace"}
		return of
	},
}

// oldEtcd answers everything with the status of a server of a version.
func oldEtcd(t *testing.T, version string) string {
	t.Helper()
	const versionField = 2 // of etcd's StatusResponse
	status := &emptypb.Empty{}
	status.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, versionField, protowire.BytesType), version))
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return stream.SendMsg(status)
	}))
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // it ends with Stop
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return l.Addr().String()
}

// anEtcd is one that has a user for Prism.
type anEtcd struct{ *stores.Cluster }

func (e anEtcd) do(t *testing.T, path string, body fields, out any) {
	t.Helper()
	require.NoError(t, e.Call(t.Context(), http.MethodPost, "/v3/"+path, body, out))
}

func (e anEtcd) addUser(t *testing.T) {
	t.Helper()
	e.do(t, "auth/user/add", fields{"name": "narrow", "password": etcdSecret}, nil)
	e.do(t, "auth/user/grant", fields{"user": "narrow", "role": "narrow"}, nil)
}

// etcdFor starts an etcd and gives its user what it needs.
func etcdFor(t *testing.T, limit int64) (anEtcd, trouble) {
	t.Helper()
	e := anEtcd{stores.ForTest(t, stores.Etcd, stores.Options{Auth: stores.Password, DataLimit: limit})}
	e.do(t, "auth/role/add", fields{"name": "narrow"}, nil)
	e.do(t, "auth/role/grant", etcdRights(), nil)
	e.addUser(t)
	return e, trouble{
		options: []string{"url", e.URL(), "username", "narrow", "password", etcdSecret},
		secrets: []string{etcdSecret, e.Credentials.Password},
	}
}
