package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/core"
)

// TestWhatMustNotStart: it can be read and shown, and the host refuses to start with it.
func TestWhatMustNotStart(t *testing.T) {
	for yaml, want := range map[string]string{
		"security: {enable_tls: true}":                   "prism.yaml:2: security.enable_tls: TLS on the listeners is not built in this version; set it to false",
		"security: {auth: {enable: true}}":               "prism.yaml:2: security.auth.enable: authentication is not built in this version; set it to false",
		"security: {auth: {tokens: [{token: hunter2}]}}": "prism.yaml:2: security.auth.tokens: authentication is not built in this version; leave them out",
		"server: {http: '0.0.0.0:8640'}":                 "prism.yaml:2: server.http: \"0.0.0.0:8640\" is not allowed; others could reach it",
		"server: {http: ':8640'}":                        "server.http: ",
		"server: {grpc: '[::]:8641'}":                    "server.grpc: ",
		"server: {grpc: 'example.org:8641'}":             "server.grpc: ",
		"server: {http: '10.0.0.1:0'}":                   "--insecure (server.insecure: true)",
	} {
		t.Run(want, func(t *testing.T) {
			l := load(t, "\n"+yaml+"\n")
			err := l.Validate()
			require.ErrorContains(t, err, want)
			assert.NotContains(t, err.Error(), "hunter2")
			require.Error(t, l.Config.Validate())
		})
	}
}

func TestWhatMayStart(t *testing.T) {
	for _, yaml := range []string{
		"server: {http: 'localhost:1', grpc: '[::1]:2'}", "server: {http: '', grpc: ''}", "server: {http: '0.0.0.0:1', insecure: true}",
		"security: {auth: {enable: false, token: left-over, username: u, password: p}, tls: {cert_file: f}}",
	} {
		require.NoError(t, load(t, yaml+"\n").Validate(), yaml)
	}
	require.NoError(t, load(t, "server: {http: '0.0.0.0:1'}\n", func(o *config.LoadOptions) { o.Insecure = true }).Validate())
	require.NoError(t, config.Default().Validate())
}

func TestUnsupportedIsAKindOfItsOwn(t *testing.T) {
	_, err := try(t, "\nsecurity: {auth: {type: oauth2}}\n")
	require.ErrorIs(t, err, core.ErrUnsupported)
	require.ErrorContains(t, err, "prism.yaml:2: security.auth.type: oauth2 is not supported; use token or basic")
	require.ErrorIs(t, load(t, "security: {enable_tls: true}\n").Validate(), core.ErrUnsupported)
}

func TestAConfigBuiltInGoIsValidatedToo(t *testing.T) {
	c := config.Default()
	c.InstanceTTL = 1
	c.LoadBalancing.Strategy = "whatever the program knows"
	require.ErrorContains(t, c.Validate(), "instance_ttl: 1ns is not allowed; use 2 s to 86400 s")
}
