// Real Consul, etcd, NATS and Redis servers for tests, as processes of their own: nothing of
// the servers is compiled here. ../servers pins and builds them.
module github.com/marketprism/prism/tools/stores

go 1.26.0

require (
	github.com/gofrs/flock v0.13.2
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
)

require (
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
