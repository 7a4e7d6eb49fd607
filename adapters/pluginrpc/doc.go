// Package pluginrpc is the wire between Prism's host and a backend plugin, both halves of it.
//
// Authors of a backend implement ports.Backend and call Serve from main; that is all:
//
//	func main() {
//		pluginrpc.Serve(pluginrpc.Plugin{
//			Name: "toy", Version: "1.0.0",
//			Options: []ports.Option{{Name: "url", Type: ports.OptionString, Required: true, Doc: "Where the store is."}},
//			Open: func(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
//				var o struct {
//					Namespace string `json:"namespace"`
//					URL       string `json:"url"`
//				}
//				if err := pluginrpc.DecodeOptions(options, &o); err != nil {
//					return nil, err
//				}
//				return toy.Open(ctx, o.URL, o.Namespace)
//			},
//		})
//	}
//
// Hosts launch such a program (adapters/pluginhost), dispense PluginName and get a *Client, whose
// Open gives the ports.Backend at the other end. Tests join both halves in memory: register
// NewServer on a grpc.Server made with ServerOptions, and give NewClient the connection.
//
// backendv1/backend.proto is the protocol, for authors in other languages.
package pluginrpc
