package main

// specflags.go: a registration as flags describe it. They end up as the JSON body of a
// registration, so that the model reads and checks both alike.

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/core"
)

type specFlags struct {
	from      string
	values    map[string]*string // by field of the body
	numbers   map[string]*string
	check     map[string]*string
	tags      []string
	endpoints []string
	metadata  string
	once      bool
}

const ttlUsage = "`seconds` (or 30s) within which heartbeats must come, 2–86400"

func (f *specFlags) add(cmd *cobra.Command) {
	f.values, f.numbers, f.check = map[string]*string{}, map[string]*string{}, map[string]*string{}
	flags := cmd.Flags()
	text := func(into map[string]*string, field, flag, usage string) { into[field] = flags.String(flag, "", usage) }
	text(f.values, "host", "host", "where it is reached: `name`, IPv4 or IPv6 (default: this machine)")
	text(f.numbers, "port", "port", "its `port`, 1–65535")
	text(f.values, "id", "id", "its `id` (default SERVICE-HOST-PORT)")
	text(f.values, "scheme", "scheme", "its `scheme` (default http)")
	text(f.values, "version", "version", "its `version` (default 1.0.0)")
	text(f.values, "region", "region", "its `region` (default default)")
	text(f.values, "zone", "zone", "its `zone`")
	text(f.values, "datacenter", "datacenter", "its `datacenter` (default default)")
	text(f.numbers, "weight", "weight", "its `share` of the traffic, 0–65535; 0 is none (default 100)")
	flags.StringSliceVar(&f.tags, "tag", nil, "`tags`; may be repeated")
	flags.StringVar(&f.metadata, "metadata", "", "any `JSON` object, or @FILE")
	flags.StringArrayVar(&f.endpoints, "endpoint", nil, "a further way to reach it, `name=scheme://host:port`; may be repeated")
	text(f.values, "health_check_url", "health-url", "the `URL` that is checked (default http://HOST:PORT/health)")
	text(f.values, "status", "status", "the `status` to begin with (default up)")
	text(f.numbers, "ttl", "ttl", ttlUsage+" (default the host's instance_ttl)")
	text(f.check, "type", "check", "the `kind` of check: http, tcp, grpc, none")
	text(f.check, "path", "check-path", "the `path` that an HTTP check asks for")
	text(f.check, "interval", "check-interval", "`time` between two checks")
	text(f.check, "timeout", "check-timeout", "`time` that a check may take")
	text(f.check, "rise", "check-rise", "`passes` in a row until it counts as healthy again")
	text(f.check, "fall", "check-fall", "`failures` in a row until it counts as unhealthy")
	text(f.check, "expect_status", "check-status", "HTTP `statuses` that pass, such as 200-299,404")
	text(f.check, "expect_body", "check-body", "`text` that the answer must hold")
	text(f.check, "deregister_after", "deregister-after", "`time` after which an unhealthy instance is removed; 0 never")
	flags.BoolVar(&f.once, "create-only", false, "refuse when the id is registered, instead of taking over")
	flags.StringVar(&f.from, "from", "", "begin with the registration in a JSON `file`, or - for standard input")
}

// wholeFields of a check are numbers in JSON; all else that looks like one is text or a
// duration, which may be either.
var wholeFields = map[string]bool{"rise": true, "fall": true}

// spec reads the flags. Flags win over --from.
func (f *specFlags) spec(a *app, cmd *cobra.Command, service string) (core.Spec, error) {
	if err := core.ValidateName("service", service); err != nil {
		return core.Spec{}, err
	}
	body, err := f.base(a)
	if err != nil {
		return core.Spec{}, err
	}
	set := func(field string, v any) error {
		raw, err := marshal(v)
		body[field] = raw
		return err
	}
	for field, value := range f.values {
		if *value != "" {
			err = errors.Join(err, set(field, *value))
		}
	}
	for field, value := range f.numbers {
		if flag := cmd.Flags().Lookup(field); flag.Changed {
			body[field] = number(*value)
		}
	}
	if f.tags != nil {
		err = errors.Join(err, set("tags", f.tags))
	}
	if f.once {
		err = errors.Join(err, set("create_only", true))
	}
	if _, ok := body["host"]; !ok {
		err = errors.Join(err, set("host", a.ownHost()))
	}
	err = errors.Join(err, f.addCheck(body), f.addEndpoints(body), f.addMetadata(a, body))
	if err != nil {
		return core.Spec{}, err
	}
	if name, ok := body["service"]; ok && string(name) != strconv.Quote(service) {
		return core.Spec{}, core.Invalid("service", string(name), "the command says "+service+"; leave it out of the file")
	}
	raw, err := marshal(body)
	if err != nil {
		return core.Spec{}, err
	}
	spec := core.Spec{}
	if err := spec.UnmarshalJSON(raw); err != nil {
		return core.Spec{}, err
	}
	spec.Service = service
	return spec, checkSpec(spec)
}

// checkSpec finds what every host would refuse, before one is asked.
func checkSpec(spec core.Spec) error {
	d := core.StandardDefaults()
	d.CallerHost, d.AllowExec, d.AllowForeignHealthURL = "127.0.0.1", true, true // the host's to judge
	_, _, err := spec.Resolve(d)
	return err
}

// base is the body in --from, or an empty one.
func (f *specFlags) base(a *app) (map[string]json.RawMessage, error) {
	body := map[string]json.RawMessage{}
	if f.from == "" {
		return body, nil
	}
	raw, err := a.readInput("from", f.from)
	if err != nil {
		return nil, err
	}
	switch err := json.Unmarshal(raw, &body); {
	case err != nil:
		return nil, &core.FieldError{Field: "from", Allowed: f.from + " is not a JSON object: " + err.Error()}
	case body == nil:
		return nil, &core.FieldError{Field: "from", Allowed: f.from + " is not a JSON object, but null"}
	}
	return body, nil
}

// maxInput bounds a file that is named on the command line.
const maxInput = 4 << 20

// readInput reads a file, or standard input for "-".
func (a *app) readInput(flag, name string) ([]byte, error) {
	in := a.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, &core.FieldError{Field: flag, Allowed: "it cannot be read: " + err.Error()}
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	switch {
	case err != nil:
		return nil, &core.FieldError{Field: flag, Allowed: "it cannot be read: " + err.Error()}
	case len(raw) > maxInput:
		return nil, core.TooLarge(flag, name, "use a file of at most 4 MiB")
	}
	return raw, nil
}

// number passes a flag on as JSON: what is no number becomes text, which the model refuses
// with the field's name and what is allowed.
func number(value string) json.RawMessage {
	if raw := json.RawMessage(value); json.Valid(raw) && value != "" && strings.ContainsAny(value[:1], "-0123456789") {
		return raw
	}
	return json.RawMessage(strconv.Quote(value))
}

// addCheck sets what flags say of the check over what --from says of it.
func (f *specFlags) addCheck(body map[string]json.RawMessage) error {
	check := map[string]any{}
	if raw, ok := body["check"]; ok {
		if err := json.Unmarshal(raw, &check); err != nil {
			return &core.FieldError{Field: "check", Allowed: "in " + f.from + " it is not a JSON object: " + err.Error()}
		}
	}
	if check == nil { // null
		check = map[string]any{}
	}
	before := maps.Clone(check)
	for field, value := range f.check {
		switch {
		case *value == "":
		case wholeFields[field]:
			n, err := strconv.Atoi(*value)
			if err != nil {
				return core.Invalid("check."+field, *value, "use 1–100")
			}
			check[field] = n
		default:
			check[field] = *value
		}
	}
	if reflect.DeepEqual(check, before) {
		return nil
	}
	raw, err := marshal(check)
	body["check"] = raw
	return err
}

func (f *specFlags) addEndpoints(body map[string]json.RawMessage) error {
	var list []core.Endpoint
	for _, given := range f.endpoints {
		const rule = "use name=scheme://host:port, such as metrics=http://10.0.0.7:9100"
		name, place, ok := strings.Cut(given, "=")
		u, err := url.Parse(place)
		if !ok || err != nil || u.Scheme == "" {
			return core.Invalid("endpoint", given, rule)
		}
		port, err := strconv.Atoi(u.Port())
		if err != nil {
			return core.Invalid("endpoint", given, rule)
		}
		list = append(list, core.Endpoint{Name: name, Scheme: u.Scheme, Host: u.Hostname(), Port: port})
	}
	if list == nil {
		return nil
	}
	raw, err := marshal(list)
	body["endpoints"] = raw
	return err
}

func (f *specFlags) addMetadata(a *app, body map[string]json.RawMessage) error {
	if f.metadata == "" {
		return nil
	}
	raw := []byte(f.metadata)
	if name, isFile := strings.CutPrefix(f.metadata, "@"); isFile {
		var err error
		if raw, err = a.readInput("metadata", name); err != nil {
			return err
		}
	}
	parsed, err := core.ParseMetadata(raw)
	if err != nil {
		return err
	}
	body["metadata"] = json.RawMessage(parsed.String())
	return nil
}
