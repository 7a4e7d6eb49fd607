package pluginrpc

// describe.go: what a plugin says about itself, between the port and the wire.

import (
	"slices"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/ports"
)

// Description is what a plugin says about itself before it is opened.
type Description struct {
	Name, Version string
	// Contract is the version of ports that it was built for.
	Contract     int
	Capabilities ports.Capabilities
	Limits       ports.Limits
	// Options is the schema to give to ValidateOptions; it always has "namespace".
	Options []ports.Option
}

func infoToWire(i ports.Info) *backendv1.BackendInfo {
	c := i.Capabilities
	return &backendv1.BackendInfo{
		Name: text(i.Name), Version: text(i.Version),
		Capabilities: &backendv1.Capabilities{
			History: c.History, Resume: c.Resume, Replicated: c.Replicated,
			ExpiryUnattended: c.ExpiryUnattended, Durable: c.Durable, MultiHost: c.MultiHost,
		},
		Limits: &backendv1.Limits{
			MaxExpiryDelay: durationToWire(i.Limits.MaxExpiryDelay), MinSessionTtl: durationToWire(i.Limits.MinSessionTTL),
		},
	}
}

func infoFromWire(i *backendv1.BackendInfo) ports.Info {
	c, l := i.GetCapabilities(), i.GetLimits()
	return ports.Info{
		Name: i.GetName(), Version: i.GetVersion(),
		Capabilities: ports.Capabilities{
			History: c.GetHistory(), Resume: c.GetResume(), Replicated: c.GetReplicated(),
			ExpiryUnattended: c.GetExpiryUnattended(), Durable: c.GetDurable(), MultiHost: c.GetMultiHost(),
		},
		Limits: ports.Limits{
			MaxExpiryDelay: l.GetMaxExpiryDelay().AsDuration(), MinSessionTTL: l.GetMinSessionTtl().AsDuration(),
		},
	}
}

// optionTypes pairs the types of an option with the wire's, which index it.
var optionTypes = []ports.OptionType{
	backendv1.OptionType_OPTION_TYPE_UNSPECIFIED: "",
	backendv1.OptionType_OPTION_TYPE_STRING:      ports.OptionString,
	backendv1.OptionType_OPTION_TYPE_INT:         ports.OptionInt,
	backendv1.OptionType_OPTION_TYPE_BOOL:        ports.OptionBool,
	backendv1.OptionType_OPTION_TYPE_DURATION:    ports.OptionDuration,
	backendv1.OptionType_OPTION_TYPE_LIST:        ports.OptionList,
}

func optionToWire(o ports.Option) *backendv1.Option {
	return &backendv1.Option{
		Name: text(o.Name), Type: backendv1.OptionType(max(0, slices.Index(optionTypes, o.Type))), Default: text(o.Default),
		Required: o.Required, Secret: o.Secret, Doc: text(o.Doc),
	}
}

// optionFromWire leaves the type empty when this host does not know it; ValidateOptions then
// says so of a value that is given.
func optionFromWire(o *backendv1.Option) ports.Option {
	out := ports.Option{
		Name: o.GetName(), Default: o.GetDefault(), Required: o.GetRequired(), Secret: o.GetSecret(), Doc: o.GetDoc(),
	}
	if t := int(o.GetType()); t >= 0 && t < len(optionTypes) {
		out.Type = optionTypes[t]
	}
	return out
}
