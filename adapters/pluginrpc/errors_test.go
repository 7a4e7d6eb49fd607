package pluginrpc_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// sentinels is every error that a backend may return, by its name in package ports.
var sentinels = map[string]error{
	"ErrInvalid": ports.ErrInvalid, "ErrNotFound": ports.ErrNotFound, "ErrConflict": ports.ErrConflict,
	"ErrUnsupported": ports.ErrUnsupported, "ErrUnavailable": ports.ErrUnavailable, "ErrPermission": ports.ErrPermission,
	"ErrTooLarge": ports.ErrTooLarge, "ErrClosed": ports.ErrClosed, "ErrSessionGone": ports.ErrSessionGone,
	"ErrContention": ports.ErrContention,
	"Canceled":      context.Canceled, "DeadlineExceeded": context.DeadlineExceeded,
}

func TestSentinelsAreAllOfPackagePorts(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../ports/errors.go", nil, 0)
	require.NoError(t, err)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, name := range spec.Names {
				found++
				assert.Contains(t, sentinels, name.Name)
			}
		}
		return true
	})
	assert.Equal(t, len(sentinels)-2, found)
}

// over returns err as it comes back from a call, and from the result of one item.
func over(t *testing.T, err error) (call, item error) {
	t.Helper()
	b := openFake(t, &fake{
		health: func(context.Context) error { return err },
		apply: func(context.Context, []ports.Mutation) ([]ports.MutationResult, error) {
			return []ports.MutationResult{{Err: err}}, nil
		},
	})
	results, applyErr := b.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{}}})
	require.NoError(t, applyErr)
	require.Len(t, results, 1)
	return b.Health(t.Context()), results[0].Err
}

func TestErrorsKeepTheirKindAcrossTheWire(t *testing.T) {
	for name, sentinel := range sentinels {
		for form, err := range map[string]error{
			"bare":    sentinel,
			"wrapped": fmt.Errorf("write the record: %w", sentinel),
			"joined":  fmt.Errorf("%w: the server said no: %w", sentinel, errors.New("code 7")),
		} {
			t.Run(name+"/"+form, func(t *testing.T) {
				call, item := over(t, err)
				for _, got := range []error{call, item} {
					require.EqualError(t, got, err.Error())
					for other, s := range sentinels {
						assert.Equal(t, other == name, errors.Is(got, s), "%v is %s", got, other)
					}
				}
			})
		}
	}
}

func TestFieldErrorsCrossWhole(t *testing.T) {
	for _, fe := range []*core.FieldError{
		core.Invalid("backend_config.url", "htp://x", "use http or https"),
		core.TooLarge("mutations[3].body", "97 KiB", "at most 96 KiB"),
		{Field: "id", Allowed: "it is empty", Kind: ports.ErrConflict},
	} {
		for _, err := range []error{fe, fmt.Errorf("put a/b: %w", fe)} {
			call, item := over(t, err)
			for _, got := range []error{call, item} {
				require.EqualError(t, got, err.Error())
				back, ok := errors.AsType[*core.FieldError](got)
				require.True(t, ok)
				assert.Equal(t, fe, back)
				assert.ErrorIs(t, got, fe.Unwrap())
			}
		}
	}
}

func TestErrorThatBreaksTheContractIsUnavailable(t *testing.T) {
	call, item := over(t, errors.New("oops"))
	require.ErrorIs(t, call, ports.ErrUnavailable)
	require.ErrorIs(t, item, ports.ErrUnavailable)
	require.EqualError(t, call, "oops")

	call, _ = over(t, fmt.Errorf("%w: dial: %w", ports.ErrUnavailable, context.DeadlineExceeded))
	require.ErrorIs(t, call, ports.ErrUnavailable)
	assert.NotErrorIs(t, call, context.DeadlineExceeded)
}

func TestErrorTextIsCutAndMadeValid(t *testing.T) {
	call, item := over(t, fmt.Errorf("%s: \xff: %w", strings.Repeat("é", 10_000), ports.ErrInvalid))
	for _, got := range []error{call, item} {
		require.ErrorIs(t, got, ports.ErrInvalid)
		assert.Less(t, len(got.Error()), 5000)
		assert.True(t, utf8.ValidString(got.Error()))
	}
	call, _ = over(t, fmt.Errorf("bad byte \xff: %w", ports.ErrInvalid))
	assert.EqualError(t, call, "bad byte \uFFFD: invalid argument")
}

// foreign is a backend in another language, which sends a status without details.
type foreign struct {
	backendv1.UnimplementedRegistryBackendServer

	code codes.Code
}

func (f foreign) Open(context.Context, *backendv1.OpenRequest) (*backendv1.OpenResponse, error) {
	return &backendv1.OpenResponse{}, nil
}

func (f foreign) Health(context.Context, *backendv1.HealthRequest) (*backendv1.HealthResponse, error) {
	return nil, status.Error(f.code, "no luck")
}

func TestStatusWithoutDetailsIsReadByItsCode(t *testing.T) {
	want := map[codes.Code]error{
		codes.InvalidArgument: ports.ErrInvalid, codes.NotFound: ports.ErrNotFound, codes.AlreadyExists: ports.ErrConflict,
		codes.FailedPrecondition: ports.ErrSessionGone, codes.Aborted: ports.ErrContention,
		codes.Unimplemented: ports.ErrUnsupported, codes.PermissionDenied: ports.ErrPermission,
		codes.ResourceExhausted: ports.ErrTooLarge, codes.Unavailable: ports.ErrUnavailable,
		codes.DeadlineExceeded: context.DeadlineExceeded,
		// What the caller did not ask for, and what says nothing.
		codes.Canceled: ports.ErrUnavailable, codes.Unknown: ports.ErrUnavailable, codes.Internal: ports.ErrUnavailable,
		codes.DataLoss: ports.ErrUnavailable, codes.OutOfRange: ports.ErrUnavailable, codes.Unauthenticated: ports.ErrUnavailable,
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		s := grpc.NewServer(pluginrpc.ServerOptions()...)
		backendv1.RegisterRegistryBackendServer(s, foreign{code: code})
		client, _ := serveInMemory(t, s)
		b, err := client.Open(t.Context(), nil)
		require.NoError(t, err)
		err = b.Health(t.Context())
		require.ErrorIs(t, err, want[code], code)
		require.ErrorContains(t, err, "no luck")

		_, err = b.OpenSession(t.Context(), ports.SessionSpec{})
		require.ErrorIs(t, err, ports.ErrUnsupported)
	}
}

func TestLostConnectionIsUnavailable(t *testing.T) {
	entered := make(chan struct{})
	client, cut := connect(t, (&fake{health: func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}}).plugin())
	b, err := client.Open(t.Context(), nil)
	require.NoError(t, err)
	go func() { <-entered; cut() }()
	require.ErrorIs(t, b.Health(t.Context()), ports.ErrUnavailable, "in flight")
	_, err = b.Apply(t.Context(), nil)
	require.ErrorIs(t, err, ports.ErrUnavailable, "afterwards")
	_, err = b.Watch(t.Context(), ports.WatchRequest{})
	require.ErrorIs(t, err, ports.ErrUnavailable)
	_, err = client.Describe(t.Context())
	require.ErrorIs(t, err, ports.ErrUnavailable)
	require.ErrorIs(t, b.Close(), ports.ErrUnavailable)
	require.ErrorIs(t, b.Health(t.Context()), ports.ErrClosed)
}
