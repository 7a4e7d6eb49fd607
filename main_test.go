package prism_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// TestMain also plays a plugin, the backend "toy": the memory backend with an option.
func TestMain(m *testing.M) {
	if os.Getenv(pluginrpc.Handshake.MagicCookieKey) != "" {
		if err := noteStart(); err != nil {
			panic(err)
		}
		pluginrpc.Serve(pluginrpc.Plugin{
			Name: "toy", Version: "1.2.3",
			Options: []ports.Option{
				{Name: "password", Type: ports.OptionString, Secret: true},
				{Name: "wait", Type: ports.OptionDuration, Default: "1s"},
			},
			Open: openToy,
		})
		return
	}
	goleak.VerifyTestMain(m)
}

func openToy(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
	var o struct {
		Namespace string `json:"namespace"`
		Password  string `json:"password"`
		Wait      string `json:"wait"`
	}
	if err := pluginrpc.DecodeOptions(options, &o); err != nil {
		return nil, err
	}
	if o.Password != "007" || o.Wait != "90s" {
		return nil, errors.Join(ports.ErrPermission, errors.New("toy: the password is wrong, or the wait is"))
	}
	store, err := memory.Open(ctx, memory.Options{Namespace: o.Namespace})
	return toy{store}, err
}

type toy struct{ ports.Backend }

func (t toy) Info() ports.Info {
	info := t.Backend.Info()
	info.Name, info.Version = "toy", "1.2.3"
	return info
}

// noteStart adds a byte to a file beside the plugin.
func noteStart() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(startsIn(filepath.Dir(self)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString("|")
	return errors.Join(err, f.Close())
}

// startsIn is the file with a byte for each start of the plugin in a folder.
func startsIn(dir string) string { return filepath.Join(dir, "starts") }

// toyIn puts the plugin into a folder.
func toyIn(t *testing.T, dir string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	from, err := os.Open(self)
	require.NoError(t, err)
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "prism-backend-toy"), os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(to, from)
	require.NoError(t, err)
	require.NoError(t, to.Close())
}
