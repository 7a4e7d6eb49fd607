package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
)

func TestEverySentinelCrossesTheWire(t *testing.T) {
	for code, tc := range map[problem.Code]struct {
		err    error
		status int
	}{
		"invalid_argument":     {core.ErrInvalid, 422},
		"unauthenticated":      {core.ErrUnauthenticated, 401},
		"permission_denied":    {core.ErrPermission, 403},
		"not_found":            {core.ErrNotFound, 404},
		"conflict":             {core.ErrConflict, 409},
		"lease_superseded":     {core.ErrSuperseded, 409},
		"unsupported":          {core.ErrUnsupported, 409},
		"lease_expired":        {core.ErrLeaseExpired, 410},
		"deregistered":         {core.ErrDeregistered, 410},
		"precondition_failed":  {core.ErrPreconditionFailed, 412},
		"too_large":            {core.ErrTooLarge, 413},
		"rate_limited":         {core.ErrRateLimited, 429},
		"unavailable":          {core.ErrUnavailable, 503},
		"no_eligible_instance": {core.ErrNoEligible, 503},
	} {
		t.Run(string(code), func(t *testing.T) {
			sent := problem.From(fmt.Errorf("do a thing: %w", tc.err), nil)
			assert.Equal(t, code, sent.Code)
			assert.Equal(t, tc.status, sent.Status)
			assert.Contains(t, problem.Codes(), code)
			assert.Equal(t, core.Kind(tc.err), string(code), "metrics and documents use one name")

			got := crossWire(t, sent)
			require.ErrorIs(t, got, tc.err)
			assert.Equal(t, "do a thing: "+tc.err.Error(), got.Error())
			for _, other := range []error{core.ErrInvalid, core.ErrNotFound, core.ErrUnavailable, core.ErrNoEligible, core.ErrConflict} {
				if !errors.Is(tc.err, other) {
					assert.NotErrorIs(t, got, other)
				}
			}
		})
	}
}

func TestFieldErrorsAreRestored(t *testing.T) {
	for _, fe := range []*core.FieldError{
		core.Invalid("check.interval", "0s", "use 1 s to 86,400 s"),
		core.TooLarge("metadata", "70000 bytes", "at most 64 KiB of JSON"),
	} {
		sent := problem.From(fe, func(field string) string { return "body." + field })
		require.Len(t, sent.Errors, 1)
		assert.Equal(t, "body."+fe.Field, sent.Errors[0].Location)

		got, ok := errors.AsType[*core.FieldError](crossWire(t, sent))
		require.True(t, ok)
		assert.Equal(t, fe.Field, got.Field)
		assert.Equal(t, fe.Error(), got.Error())
		assert.Equal(t, errors.Is(fe, core.ErrTooLarge), errors.Is(got, core.ErrTooLarge))
	}
}

func TestUnknownErrorsShowNoInternals(t *testing.T) {
	d := problem.From(errors.New("dial tcp 10.0.0.7: secret"), nil)
	assert.Equal(t, problem.CodeInternal, d.Code)
	assert.Equal(t, 500, d.Status)
	assert.NotContains(t, d.Detail, "secret")
	assert.Empty(t, d.Unwrap())
}

func TestClosedIsUnavailable(t *testing.T) {
	d := problem.From(core.ErrClosed, nil)
	assert.Equal(t, problem.CodeUnavailable, d.Code)
	assert.ErrorIs(t, crossWire(t, d), core.ErrUnavailable)
}

func crossWire(t *testing.T, d *problem.Error) error {
	t.Helper()
	b, err := json.Marshal(d)
	require.NoError(t, err)
	var got problem.Error
	require.NoError(t, json.Unmarshal(b, &got))
	return &got
}
