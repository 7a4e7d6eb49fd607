package nats

// epoch_internal_test.go: which of two answers about the epoch counts.

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An answer that was on its way while a later epoch was found does not bring the former one back.
func TestALateAnswerDoesNotBringAnEpochBack(t *testing.T) {
	t.Parallel()
	b := &Backend{mirror: newMirror()}
	first, err := b.recognize(epochMessage(1, "first"), nil)
	require.NoError(t, err)
	second, err := b.recognize(epochMessage(9, "second"), first)
	require.NoError(t, err)
	late, err := b.recognize(epochMessage(1, "first"), first)
	require.NoError(t, err)
	assert.Nil(t, late)
	require.NoError(t, b.takeMessage(first, b.names.epoch(), epochMessage(1, "first")), "nor does the stream that was followed in it")
	assert.Same(t, second, b.life.Load())
	late, err = b.recognize(epochMessage(1, "first"), nil)
	require.NoError(t, err)
	assert.Nil(t, late, "asked for before anything was known")
	again, err := b.recognize(epochMessage(9, "second"), first)
	require.NoError(t, err)
	assert.Same(t, second, again)
	// A stream that was restored holds it again.
	restored, err := b.recognize(epochMessage(1, "first"), second)
	require.NoError(t, err)
	assert.NotSame(t, first, restored)
	assert.Same(t, restored, b.life.Load())
}

func epochMessage(seq uint64, epoch string) *message {
	return &message{seq: seq, data: []byte(`{"v":1,"epoch":"` + epoch + `"}`)}
}
