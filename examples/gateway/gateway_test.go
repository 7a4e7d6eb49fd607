package main

// gateway_test.go: which requests are tried again. All else is shown by examples/demo.

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnlyWhatCanDoNoHarmIsRepeated(t *testing.T) {
	refused, broken := &net.OpError{Op: "dial", Err: errors.New("refused")}, errors.New("EOF")
	for _, tc := range []struct {
		method, body string
		err          error
		want         bool
	}{
		{http.MethodGet, "", broken, true},
		{http.MethodHead, "", broken, true},
		{http.MethodGet, "read by the first attempt", broken, false},
		{http.MethodPost, "", broken, false},
		{http.MethodPost, "", refused, true},
		{http.MethodPost, "read by the first attempt", refused, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tc.method, "http://h/", strings.NewReader(tc.body))
		require.NoError(t, err)
		assert.Equal(t, tc.want, mayRepeat(r, tc.err), "%+v", tc)
	}
}
