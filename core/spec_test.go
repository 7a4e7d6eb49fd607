package core_test

// spec_test.go: what a registration may say, and what is answered when it may not.

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
)

func resolve(t *testing.T, body string) (core.Instance, []string, error) {
	t.Helper()
	var s core.Spec
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		return core.Instance{}, nil, err
	}
	if s.Service == "" {
		s.Service = "svc"
	}
	return s.Resolve(core.StandardDefaults())
}

func TestDefaultsInForce(t *testing.T) {
	in, warnings, err := resolve(t, `{"host":"127.0.0.1","port":8080}`)
	require.NoError(t, err)
	assert.Empty(t, warnings)
	assert.Equal(t, "svc-127.0.0.1-8080", in.ID)
	assert.Equal(t, "http://127.0.0.1:8080", in.BaseURL())
	assert.Equal(t, "http://127.0.0.1:8080/health", in.HealthCheckURL)
	assert.Equal(t, "1.0.0", in.Version)
	assert.Equal(t, "default", in.Region)
	assert.Equal(t, "default", in.Datacenter)
	assert.Equal(t, 100, in.Weight)
	assert.Equal(t, 300*time.Second, in.TTL)
	assert.Equal(t, core.KeepaliveClient, in.Keepalive)
	assert.Equal(t, core.StatusUnknown, in.Status())
	assert.Equal(t, core.CheckHTTP, in.Check.Type)
	assert.True(t, in.Check.Implicit)
	assert.True(t, in.Check.PassesStatus(404), "nobody promised that path")
	assert.Equal(t, 30*time.Second, in.Check.Interval)
	assert.Equal(t, 300*time.Second, in.Check.DeregisterAfter)
}

func TestShorthandInMetadata(t *testing.T) {
	in, _, err := resolve(t, `{"host":"127.0.0.1","port":1,"metadata":{"version":"2.1","region":"eu","weight":7,"health_endpoint":"/alive"}}`)
	require.NoError(t, err)
	assert.Equal(t, "2.1", in.Version)
	assert.Equal(t, "eu", in.Region)
	assert.Equal(t, 7, in.Weight)
	assert.Equal(t, "http://127.0.0.1:1/alive", in.HealthCheckURL)
	in, _, err = resolve(t, `{"host":"127.0.0.1","port":1,"version":"3","weight":0,"metadata":{"version":"2.1","weight":7}}`)
	require.NoError(t, err)
	assert.Equal(t, "3", in.Version, "the field itself wins")
	assert.Equal(t, 0, in.Weight)
}

func TestShorthandThatSaysNothing(t *testing.T) {
	for _, nothing := range []string{"null", `""`} {
		m, err := core.ParseMetadata([]byte(strings.ReplaceAll(`{"version":?,"region":?,"weight":?,"health_endpoint":?}`, "?", nothing)))
		require.NoError(t, err)
		in, _, err := core.Spec{Service: "svc", Host: "127.0.0.1", Port: 8080, Metadata: m}.Resolve(core.StandardDefaults())
		require.NoError(t, err)
		assert.Equal(t, "1.0.0", in.Version)
		assert.Equal(t, "default", in.Region)
		assert.Equal(t, 100, in.Weight)
		assert.Equal(t, "http://127.0.0.1:8080/health", in.HealthCheckURL)
	}
}

// Fault 27: only http URLs; IPv6 unbracketed.
func TestFault27SchemesAndIPv6(t *testing.T) {
	in, _, err := resolve(t, `{"host":"::1","port":50051,"scheme":"grpc"}`)
	require.NoError(t, err)
	assert.Equal(t, "grpc://[::1]:50051", in.BaseURL())
	assert.Equal(t, "[::1]:50051", in.Address())
	assert.Equal(t, core.CheckGRPC, in.Check.Type)
	assert.Equal(t, "svc---1-50051", in.ID)
	assert.Equal(t, "http://[::1]:50051/health", in.HealthCheckURL)
	in, _, err = resolve(t, `{"host":"[::1]","port":443,"scheme":"https","endpoints":[{"name":"m","port":9,"scheme":"tcp"},{"name":"o","port":9,"host":"fd00::1"}]}`)
	require.NoError(t, err)
	assert.Equal(t, "https://[::1]:443", in.BaseURL())
	assert.Equal(t, "https://[::1]:443/health", in.HealthCheckURL)
	m, _ := in.Endpoints.Get("m")
	assert.Equal(t, "tcp://[::1]:9", m.URL())
	o, _ := in.Endpoints.Get("o")
	assert.Equal(t, "http://[fd00::1]:9", o.URL())
	in, _, err = resolve(t, `{"host":"10.0.0.7","port":80,"endpoints":[{"name":"m","host":"0.0.0.0","port":9}]}`)
	require.NoError(t, err)
	m, _ = in.Endpoints.Get("m")
	assert.Equal(t, "http://10.0.0.7:9", m.URL(), "a wildcard is no address that others can reach")
	in, _, err = resolve(t, `{"host":"[::ffff:127.0.0.1]","port":1,"scheme":"tcp"}`)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", in.Host)
	assert.Equal(t, core.CheckTCP, in.Check.Type)
}

func TestBadRegistrations(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	cases := map[string]struct{ body, field, says string }{
		"no port":            {`{"host":"127.0.0.1"}`, "port", "missing"},
		"port 0":             {`{"host":"127.0.0.1","port":0}`, "port", "1–65535"},
		"port 65536":         {`{"host":"127.0.0.1","port":65536}`, "port", "65536"},
		"port abc":           {`{"host":"127.0.0.1","port":"abc"}`, "port", "abc"},
		"port 1.5":           {`{"host":"127.0.0.1","port":1.5}`, "port", "1.5"},
		"empty host":         {`{"host":"","port":1}`, "host", "empty"},
		"wildcard":           {`{"host":"0.0.0.0","port":1}`, "host", "wildcard"},
		"zone":               {`{"host":"fe80::1%eth0","port":1}`, "host", "zone"},
		"host with port":     {`{"host":"a:1","port":1}`, "host", "port is a field of its own"},
		"host with slash":    {`{"host":"a/b","port":1}`, "host", "'/'"},
		"bad IPv4":           {`{"host":"1.2.3","port":1}`, "host", "IPv4"},
		"long name":          {`{"service":"` + strings.Repeat("x", 129) + `","host":"h","port":1}`, "service", "129 bytes"},
		"slash in name":      {`{"service":"a/b","host":"h","port":1}`, "service", "'/'"},
		"NUL in id":          {`{"id":"a\u0000b","host":"h","port":1}`, "id", `'\x00'`},
		"star":               {`{"service":"*","host":"h","port":1}`, "service", "'*'"},
		"greater":            {`{"service":"a.>","host":"h","port":1}`, "service", "'>'"},
		"first character":    {`{"service":"-a","host":"h","port":1}`, "service", "'-'"},
		"weight -1":          {`{"host":"h","port":1,"weight":-1}`, "weight", "0–65,535"},
		"weight 70000":       {`{"host":"h","port":1,"weight":70000}`, "weight", "70000"},
		"weight text":        {`{"host":"h","port":1,"weight":"many"}`, "weight", "many"},
		"ttl 0":              {`{"host":"h","port":1,"ttl":0}`, "ttl", "2 to 86,400"},
		"ttl -1":             {`{"host":"h","port":1,"ttl":-1}`, "ttl", "2 to 86,400"},
		"ttl 1":              {`{"host":"h","port":1,"ttl":1}`, "ttl", "2 to 86,400"},
		"ttl 1e12":           {`{"host":"h","port":1,"ttl":1e12}`, "ttl", "out of range"},
		"ttl 90000":          {`{"host":"h","port":1,"ttl":90000}`, "ttl", "2 to 86,400"},
		"ttl text":           {`{"host":"h","port":1,"ttl":"soon"}`, "ttl", "30s"},
		"unknown field":      {`{"host":"h","port":1,"wieght":3}`, "wieght", "no such field"},
		"unknown by case":    {`{"host":"h","port":1,"Weight":3}`, "Weight", "no such field"},
		"check by case":      {`{"host":"h","port":1,"check":{"Path":"/"}}`, "check.Path", "no such field"},
		"endpoint by case":   {`{"host":"h","port":1,"endpoints":[{"name":"m","Port":1}]}`, "endpoints[0].Port", "no such field"},
		"field twice":        {`{"host":"h","port":1,"port":2}`, "port", "twice"},
		"check field twice":  {`{"host":"h","port":1,"check":{"path":"/a","path":"/b"}}`, "check.path", "twice"},
		"unknown in check":   {`{"host":"h","port":1,"check":{"pth":"/"}}`, "check.pth", "no such field"},
		"wrong type":         {`{"host":7,"port":1}`, "host", "string"},
		"not JSON":           {`{"host":`, "", ""},
		"health elsewhere":   {`{"host":"127.0.0.1","port":1,"health_check_url":"http://169.254.169.254/"}`, "health_check_url", "own host"},
		"health credentials": {`{"host":"h","port":1,"health_check_url":"http://u:hunter2@h/"}`, "health_check_url", "without credentials"},
		"health no URL":      {`{"host":"h","port":1,"health_check_url":"http://u:hunter2@h:x/"}`, "health_check_url", "http"},
		"health not http":    {`{"host":"127.0.0.1","port":1,"health_check_url":"file:///etc/passwd"}`, "health_check_url", "http"},
		"status unknown":     {`{"host":"h","port":1,"status":"unknown"}`, "status", "cannot be set"},
		"status nonsense":    {`{"host":"h","port":1,"status":"great"}`, "status", "maintenance"},
		"keepalive":          {`{"host":"h","port":1,"keepalive":"forever"}`, "keepalive", "auto or client"},
		"check type":         {`{"host":"h","port":1,"check":{"type":"ping"}}`, "check.type", "http, tcp"},
		"exec":               {`{"host":"h","port":1,"check":{"type":"exec","command":["true"]}}`, "check.type", "does not allow exec"},
		"interval":           {`{"host":"h","port":1,"check":{"interval":0.1}}`, "check.interval", "1 s"},
		"timeout":            {`{"host":"h","port":1,"check":{"interval":2,"timeout":3}}`, "check.timeout", "interval"},
		"expect_status":      {`{"host":"h","port":1,"check":{"expect_status":"99"}}`, "check.expect_status", "100 to 599"},
		"metadata array":     {`{"host":"h","port":1,"metadata":[1]}`, "metadata", "object"},
		"metadata duplicate": {`{"host":"h","port":1,"metadata":{"a":{"b":1,"b":2}}}`, "metadata.a.b", "twice"},
		"metadata deep":      {`{"host":"h","port":1,"metadata":` + deep + `}`, "metadata", "32 levels"},
		"tag":                {`{"host":"h","port":1,"tags":["ok","not ok"]}`, "tags[1]", "' '"},
		"endpoint twice":     {`{"host":"h","port":1,"endpoints":[{"name":"m","port":1},{"name":"m","port":2}]}`, "endpoints[1].name", "twice"},
		"scheme":             {`{"host":"h","port":1,"scheme":"1http"}`, "scheme", "RFC 3986"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := resolve(t, c.body)
			require.Error(t, err)
			if c.field == "" {
				return
			}
			require.ErrorIs(t, err, core.ErrInvalid)
			var fe *core.FieldError
			require.ErrorAs(t, err, &fe)
			assert.True(t, strings.HasPrefix(fe.Field, c.field), "field %q", fe.Field)
			assert.Contains(t, err.Error(), c.says)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestMetadataTooLarge(t *testing.T) {
	_, _, err := resolve(t, `{"host":"h","port":1,"metadata":{"a":"`+strings.Repeat("x", 70<<10)+`"}}`)
	require.ErrorIs(t, err, core.ErrTooLarge)
	assert.ErrorContains(t, err, "64 KiB")
}

// TestMetadataThatIsAcceptedCanBeReadBack holds the limit to what is kept: escapes that some JSON
// writers use, and this one's own, must not make a stored record larger than what was allowed.
func TestMetadataThatIsAcceptedCanBeReadBack(t *testing.T) {
	text := func(s string) string { return strings.Repeat(s, (64<<10-len(`{"a":""}`))/len(s)) }
	for name, raw := range map[string]string{
		"line separators":      `{"a":"` + strings.Repeat("\u2028", 10_000) + `"}`,
		"raw line separators":  `{"a":"` + strings.Repeat("\u2028", 20_000) + `"}`,
		"angle brackets":       `{"a":"` + text("<") + `"}`,
		"all brackets escaped": `{"a":"` + strings.Repeat(`\u003c`, len(text("<"))) + `"}`,
		"white space":          `{"a":` + strings.Repeat(" ", 100<<10) + `1}`,
	} {
		t.Run(name, func(t *testing.T) {
			in, _, err := resolve(t, `{"host":"h","port":1,"metadata":`+raw+`}`)
			if name == "raw line separators" {
				require.ErrorIs(t, err, core.ErrTooLarge, "it is kept in more bytes than it came in")
				return
			}
			require.NoError(t, err)
			body, err := core.EncodeBody(in, map[string]json.RawMessage{"later": json.RawMessage(`"<"`)})
			require.NoError(t, err)
			assert.Less(t, len(body), 66<<10, "nothing is escaped that need not be")
			back := core.Instance{Service: in.Service, ID: in.ID}
			_, err = core.DecodeBody(body, &back)
			require.NoError(t, err)
			assert.True(t, in.SameDescription(back))
			spec, err := json.Marshal(core.Spec{Host: "h", Port: 1, Metadata: in.Metadata})
			require.NoError(t, err)
			sent, _, err := resolve(t, string(spec))
			require.NoError(t, err, "a client may send it again")
			assert.Equal(t, in.Metadata, sent.Metadata)
		})
	}
}

func TestMetadataIsCanonicalAndExact(t *testing.T) {
	m, err := core.ParseMetadata([]byte(` {"z": 9007199254740993, "a": [1.50, -0, 1e400, "<é>"], "m": {"y":null,"x":true}} `))
	require.NoError(t, err)
	want := `{"a":[1.50,-0,1e400,"<é>"],"m":{"x":true,"y":null},"z":9007199254740993}`
	assert.Equal(t, []byte(want), []byte(m.String()), "byte for byte")
	again, err := core.ParseMetadata([]byte(m.String()))
	require.NoError(t, err)
	assert.Equal(t, m, again)
	m.Map()["z"] = "changed"
	assert.Contains(t, m.String(), "9007199254740993", "what is handed out is a copy")
	for _, bad := range []string{`{} {}`, `{"a":1`, `{"a" 1}`, `{a:1}`, `"x"`, `{"a":01}`} {
		_, err := core.ParseMetadata([]byte(bad))
		require.ErrorIs(t, err, core.ErrInvalid, bad)
	}
}

func TestTTLFractionsRoundUp(t *testing.T) {
	in, warnings, err := resolve(t, `{"host":"h","port":1,"ttl":2.2}`)
	require.NoError(t, err)
	assert.Equal(t, 3*time.Second, in.TTL)
	assert.Len(t, warnings, 1)
}

func TestWildcardBecomesTheCaller(t *testing.T) {
	d := core.StandardDefaults()
	d.CallerHost = "127.0.0.9"
	in, warnings, err := core.Spec{Service: "svc", Host: "::", Port: 1}.Resolve(d)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.9", in.Host)
	assert.Contains(t, warnings[0], "127.0.0.9")
}

func TestDeregisterAfterByDefault(t *testing.T) {
	for body, want := range map[string]time.Duration{
		`"ttl":40`:                                             40 * time.Second,
		`"ttl":40,"keepalive":"auto"`:                          0,
		`"check":{"type":"none"}`:                              0,
		`"check":{"type":"tcp"}`:                               300 * time.Second,
		`"check":{"deregister_after":0}`:                       0,
		`"keepalive":"auto","check":{"deregister_after":"1m"}`: time.Minute,
	} {
		in, _, err := resolve(t, `{"host":"h","port":1,`+body+`}`)
		require.NoError(t, err)
		assert.Equal(t, want, in.Check.DeregisterAfter, body)
	}
}

func TestOnlyTheDefaultCheckTakes404AsAlive(t *testing.T) {
	for body, want := range map[string]bool{
		`"check":{"interval":5}`:                true,
		`"check":{"type":"http"}`:               false,
		`"check":{"path":"/alive"}`:             false,
		`"health_check_url":"http://h:1/alive"`: false,
		`"check":{"expect_status":"200"}`:       false,
	} {
		in, _, err := resolve(t, `{"host":"h","port":1,`+body+`}`)
		require.NoError(t, err)
		assert.Equal(t, want, in.Check.PassesStatus(404), body)
		assert.Equal(t, want, in.Check.PassesStatus(405), body)
	}
}

func TestCheckTypeFollowsTheScheme(t *testing.T) {
	for scheme, want := range map[string]core.CheckType{
		"http": core.CheckHTTP, "HTTPS": core.CheckHTTP, "grpc": core.CheckGRPC, "grpcs": core.CheckGRPC, "redis": core.CheckTCP,
	} {
		in, _, err := core.Spec{Service: "svc", Host: "h", Port: 1, Scheme: scheme}.Resolve(core.StandardDefaults())
		require.NoError(t, err)
		assert.Equal(t, want, in.Check.Type, scheme)
	}
}

func TestLongDerivedIDsAreCutWithAHash(t *testing.T) {
	a := core.DeriveID(strings.Repeat("s", 128), "host-a", 1)
	b := core.DeriveID(strings.Repeat("s", 128), "host-b", 1)
	assert.Len(t, a, core.MaxName)
	assert.NotEqual(t, a, b)
	assert.NoError(t, core.ValidateName("id", a))
}

func TestSpecRoundTrip(t *testing.T) {
	s := core.Spec{
		Service: "svc", ID: "x", Host: "h", Port: 1, Weight: new(0), TTL: 30 * time.Second, Tags: []string{"a"},
		Check: &core.Check{Type: core.CheckTCP, Interval: 5 * time.Second, ExpectStatus: "200-204"}, Status: "starting",
		Metadata: core.MustMetadata(map[string]any{"k": []int{1, 2}}), Keepalive: core.KeepaliveAuto, CreateOnly: true,
	}
	b, err := json.Marshal(s)
	require.NoError(t, err)
	var got core.Spec
	require.NoError(t, json.Unmarshal(b, &got))
	assert.Equal(t, s, got)
}

func TestInstanceRoundTripOfPublicFormAndBody(t *testing.T) {
	in, _, err := resolve(t, `{"host":"::1","port":1,"tags":["b","a"],"metadata":{"n":9007199254740993},"endpoints":[{"name":"m","port":2}],"check":{"deregister_after":0}}`)
	require.NoError(t, err)
	in.Generation, in.Revision = core.Generation{}.Next(), core.Revision{Epoch: "e.1", N: 7}
	in.RegisteredAt = time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	b, err := json.Marshal(in)
	require.NoError(t, err)
	var got core.Instance
	require.NoError(t, json.Unmarshal(b, &got))
	assert.True(t, in.SameDescription(got))
	assert.Equal(t, in.Generation, got.Generation)
	assert.Equal(t, in.Revision, got.Revision)
	assert.Equal(t, in.RegisteredAt, got.RegisteredAt)
	assert.Contains(t, string(b), `"registered_at":"2026-01-02T03:04:05.006Z"`)

	body, err := core.EncodeBody(in, map[string]json.RawMessage{"later": json.RawMessage(`1`)})
	require.NoError(t, err)
	back := core.Instance{Service: "svc", ID: in.ID}
	extra, err := core.DecodeBody(body, &back)
	require.NoError(t, err)
	assert.True(t, in.SameDescription(back))
	assert.Equal(t, map[string]json.RawMessage{"later": json.RawMessage(`1`)}, extra)
}

func TestServiceDefaults(t *testing.T) {
	def := core.Spec{Weight: new(5), Tags: []string{"x"}, Metadata: core.MustMetadata(map[string]any{"a": 1, "b": 1})}
	got := core.Spec{Service: "svc", Host: "h", Port: 1, Metadata: core.MustMetadata(map[string]any{"b": 2})}.WithDefaults(def)
	assert.Equal(t, 5, *got.Weight)
	assert.Equal(t, []string{"x"}, got.Tags)
	assert.Equal(t, `{"a":1,"b":2}`, got.Metadata.String())
}
