// The host's ways in: HTTP, gRPC, DNS, dashboard. A module of its own, so that a program which
// embeds Prism neither compiles nor scans a web framework.
module github.com/marketprism/prism/adapters/inbound

go 1.26.0

require (
	github.com/danielgtaylor/huma/v2 v2.37.2
	github.com/marketprism/prism v0.0.0
	github.com/stretchr/testify v1.12.1
	github.com/swaggest/swgui v1.8.5
	github.com/tmaxmax/go-sse v0.12.0
	go.uber.org/goleak v1.3.0
	google.golang.org/grpc v1.85.0
)

require (
	github.com/expr-lang/expr v1.17.8 // indirect
	github.com/vearutop/statigz v1.4.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

// Needed where there is no workspace (GOWORK=off), until the root module is tagged.
replace github.com/marketprism/prism => ../..
