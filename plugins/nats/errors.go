package nats

// errors.go: what NATS and its client say, as one sentence and one sentinel of package ports.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

// What JetStream's API answers with, beyond what the client has names for.
const (
	codeAccountResources    = 10002 // the account's storage is used up
	codeNoPeers             = 10005 // no suitable peers for placement
	codeClusterUnavailable  = 10008
	codeNotLeader           = 10009
	codeInsufficient        = 10023 // the server's resources are used up
	codeStorageResources    = 10047
	codeMemoryResources     = 10028
	codeSubjectOverlap      = 10065
	codeReplicas            = 10074 // replicas > 1 without a cluster
	codeStoreFailed         = 10077 // maximum bytes, a full disk
	codeMessageTTLDisabled  = 10166
	codeDuplicateInProgress = 10158
	codeStreamOffline       = 10118
	codeMaximumStreams      = 10027
	codeMaxBytesRequired    = 10113
	codeReplicasTooMany     = 10052 // a wrong configuration, too many replicas among them
)

// transientCodes are answers of a server that has no leader to ask, or is still at it.
var transientCodes = []jetstream.ErrorCode{
	codeClusterUnavailable, codeNotLeader, codeDuplicateInProgress, codeStreamOffline, jetstream.JSErrCodeJetStreamNotEnabled,
}

// errStreamGone says that the stream is not there: the store was wiped, or it was removed.
var errStreamGone = errors.New("the stream is gone")

// fail turns an error of the client into one that wraps exactly one sentinel.
func fail(err error) error {
	if backendkit.HasSentinel(err) {
		return err
	}
	if sentence, as := known(err); as != nil {
		return fmt.Errorf("nats: %s: %w", sentence, as)
	}
	if late := backendkit.Unanswered("nats", err); late != nil {
		return late
	}
	return fmt.Errorf("nats: %s; look at %s: %w", strings.TrimPrefix(err.Error(), "nats: "), backendkit.OptionField("url"), ports.ErrUnavailable)
}

// known are the errors about which people can do something.
func known(err error) (sentence string, as error) {
	switch {
	case isLogin(err):
		return "the server refuses the login; look at " + backendkit.OptionField("user") + ", password, token, creds_file and nkey_seed_file", ports.ErrPermission
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Sprintf("the user of %s, or of the other login, lacks a permission (%s); grant it what the README lists", backendkit.OptionField("user"), violated(err)), ports.ErrPermission
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
		return "the record is larger than the server's max_payload allows", ports.ErrTooLarge
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return "JetStream is not enabled for the account of this login; enable it for the account, or log in to another one", ports.ErrUnavailable
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		return "JetStream does not answer at " + backendkit.OptionField("url") + "; is it enabled there (nats-server -js)?", ports.ErrUnavailable
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return "", nil
	}
	switch uint16(api.ErrorCode) {
	case codeAccountResources, codeInsufficient, codeStorageResources, codeMemoryResources, codeStoreFailed:
		return fmt.Sprintf("the storage of the server or account that %s leads to is used up, so it takes no writes (%s); free some, or raise max_file_store or the account's limits", backendkit.OptionField("url"), api.Description), ports.ErrUnavailable
	case codeMaximumStreams:
		return "the account may have no further stream; raise its limit, or share a namespace", ports.ErrPermission
	case codeMaxBytesRequired:
		return "the account asks for streams with max_bytes, which would refuse or remove records when reached; lift max_bytes_required for this account", ports.ErrPermission
	case codeReplicas, codeNoPeers, codeReplicasTooMany:
		return fmt.Sprintf("it cannot place the stream (%s); lower %s to the number of servers with JetStream, or start the others", api.Description, backendkit.OptionField("replicas")), ports.ErrUnavailable
	case codeMessageTTLDisabled:
		return "the stream of the namespace does not take a TTL of messages; remove it and let the backend make it anew", ports.ErrInvalid
	case codeSubjectOverlap:
		return "another stream has subjects of the namespace; choose another " + backendkit.OptionField(ports.OptionNamespace) + ", or remove that stream", ports.ErrInvalid
	}
	return "", nil
}

// isLogin reports whether the server does not take the login, or not any more.
func isLogin(err error) bool {
	for _, e := range []error{nats.ErrAuthorization, nats.ErrAuthRevoked, nats.ErrAuthExpired, nats.ErrAccountAuthExpired} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// violated is what the user may not do, in the server's words.
func violated(err error) string {
	_, words, ok := strings.Cut(err.Error(), nats.ErrPermissionViolation.Error()+": ")
	if !ok {
		return "see the server's log"
	}
	return words
}

// isStale reports whether a publish was refused because another message stands at its subject.
// A stream with replicas has a code of its own for it.
func isStale(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// isTransient reports whether the same request may do better in a moment: no answer, no
// leader, no connection.
func isTransient(err error) bool {
	for _, t := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse,
		nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrStaleConnection, nats.ErrNoServers,
	} {
		if errors.Is(err, t) {
			return true
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return slices.Contains(transientCodes, api.ErrorCode)
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, jetstream.ErrJetStreamNotEnabled)
}
