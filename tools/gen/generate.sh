#!/bin/sh
# Lints every .proto under adapters/ and regenerates the Go code beside it, with the generators
# that tools/gen/go.mod pins. It needs nothing but the Go module proxy (once), and its output
# depends on nothing but the repository: CI runs it and expects no difference.
#
#   tools/gen/generate.sh          lint and generate
#   tools/gen/generate.sh lint     lint only
set -eu
cd "$(dirname "$0")/../.."
export GOWORK=off
buf() { go tool -modfile=tools/gen/go.mod buf "$@"; }

buf lint --config tools/gen/buf.yaml .
[ "${1:-}" = lint ] ||
	buf generate --config tools/gen/buf.yaml --template tools/gen/buf.gen.yaml --path adapters .
