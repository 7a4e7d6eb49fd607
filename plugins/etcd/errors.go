package etcd

// errors.go: what etcd and gRPC say, as one sentence and one sentinel of package ports.

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

// known are errors of etcd of which people can do something about.
var known = []struct {
	from     error
	sentence string
	as       error
}{
	{rpctypes.ErrPermissionDenied, "etcd: the user in " + backendkit.OptionField("username") + " lacks a permission; grant its role readwrite on all keys of the namespace", ports.ErrPermission},
	{rpctypes.ErrAuthFailed, "etcd: it does not know this user with this password; look at " + backendkit.OptionField("username") + " and " + backendkit.OptionField("password"), ports.ErrPermission},
	{rpctypes.ErrUserEmpty, "etcd: it asks for a user; set " + backendkit.OptionField("username") + " and " + backendkit.OptionField("password"), ports.ErrPermission},
	// These two pass: who tries again logs in anew.
	{rpctypes.ErrInvalidAuthToken, "etcd: the login has ended; look at " + backendkit.OptionField("username") + " if that stays so", ports.ErrUnavailable},
	{rpctypes.ErrAuthOldRevision, "etcd: users or roles were changed meanwhile; look at " + backendkit.OptionField("username") + " if that stays so", ports.ErrUnavailable},
	{rpctypes.ErrUserNotFound, "etcd: it does not know the user; look at " + backendkit.OptionField("username"), ports.ErrPermission},
	{rpctypes.ErrNoSpace, "etcd: the space quota of the cluster at " + backendkit.OptionField("url") + " is exhausted, so it takes no writes; compact and defragment it, raise --quota-backend-bytes, then disarm the alarm (etcdctl alarm disarm)", ports.ErrUnavailable},
	{rpctypes.ErrCorrupt, "etcd: a member of the cluster at " + backendkit.OptionField("url") + " reports corrupt data, and none takes writes; see etcdctl alarm list", ports.ErrUnavailable},
	{rpctypes.ErrRequestTooLarge, "etcd: the record is larger than its --max-request-bytes allows", ports.ErrTooLarge},
	{rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner), "etcd: the member is a learner, which takes no reads and writes; name voting members in " + backendkit.OptionField("url"), ports.ErrUnavailable},
	{rpctypes.ErrNoLeader, "etcd: the cluster at " + backendkit.OptionField("url") + " has no leader; see etcdctl endpoint status of its members", ports.ErrUnavailable},
}

// fail turns an error of the client into one that wraps exactly one sentinel.
func fail(err error) error {
	if backendkit.HasSentinel(err) {
		return err
	}
	plain := rpctypes.Error(err)
	for _, k := range known {
		if errors.Is(plain, k.from) {
			return fmt.Errorf("%s: %w", k.sentence, k.as)
		}
	}
	if late := backendkit.Unanswered("etcd", err); late != nil {
		return late
	}
	switch code(plain) {
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("etcd refuses: %s: %w", text(plain), ports.ErrPermission)
	case codes.Unimplemented:
		return fmt.Errorf("what answers at %s is no etcd, or one without the v3 API: %w", backendkit.OptionField("url"), ports.ErrUnavailable)
	default:
		return fmt.Errorf("etcd: %s; look at %s: %w", text(plain), backendkit.OptionField("url"), ports.ErrUnavailable)
	}
}

func code(err error) codes.Code {
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Code()
	}
	return status.Code(err)
}

// text is an error without gRPC's "rpc error: code = …".
func text(err error) string {
	if s, ok := status.FromError(err); ok && s != nil {
		return s.Message()
	}
	return err.Error()
}

// noLease reports whether a write was refused because its lease has ended.
func noLease(err error) bool { return errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) }

// retriable reports whether the next attempt may do better: the store is away, not against it.
func retriable(err error) bool { return errors.Is(err, ports.ErrUnavailable) }
