package ingest

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// Answers say every acknowledgement once, in order, as its event came, and stay within what clients take.
func TestAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		acks := rapid.SliceOfN(rapid.Custom(drawAck), 1, 3000).Draw(t, "acks")
		var said []ack
		for rest := acks; len(rest) > 0; {
			answer, n := answerOf(rest)
			rest = rest[n:]
			list := answer.GetAcknowledgements()
			if len(list) == 0 {
				said = append(said, ack{answer.GetSequence(), answer.GetResult(), true})
			}
			for _, a := range list {
				said = append(said, ack{a.GetSequence(), a.GetResult(), false})
			}
			if n != max(1, len(list)) || n > MaxBatchEvents {
				t.Fatalf("%d taken, %d said", n, len(list))
			}
			if size := proto.Size(answer); size > maxAnswerBytes+16<<10 {
				t.Fatalf("an answer of %d bytes", size)
			}
			if n < len(rest) && n > 0 && len(list) > 0 && n < MaxBatchEvents && !rest[0].alone && proto.Size(answer) < maxAnswerBytes/4 {
				t.Fatalf("an answer of %d bytes says %d and leaves %d", proto.Size(answer), n, len(rest))
			}
		}
		if !slices.Equal(said, acks) {
			t.Fatalf("%d acknowledgements became %d", len(acks), len(said))
		}
	})
}

func drawAck(t *rapid.T) ack {
	a := ack{sequence: rapid.Uint64().Draw(t, "sequence"), result: &pb.PublishResult{EventId: "018f0000-0000-7000-8000-000000000000"}}
	switch rapid.IntRange(0, 20).Draw(t, "kind") {
	case 0:
		a.alone = true
	case 1:
		a.result.Error = &pb.PublishError{Message: strings.Repeat("x", rapid.IntRange(0, 10<<10).Draw(t, "length"))}
	}
	return a
}
