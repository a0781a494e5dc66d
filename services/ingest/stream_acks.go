package ingest

import (
	"google.golang.org/protobuf/proto"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// maxAnswerBytes is what an answer on a stream holds, about: one that says more is split, since clients
// take 4 MiB, and an event may have many faults. 16 KiB is an HTTP/2 frame; a larger answer is several.
const maxAnswerBytes = 64 << 10

// ackBytes is about what an acknowledgement takes that says nothing but an id.
const ackBytes = 64

// ack is an acknowledgement to be sent.
type ack struct {
	sequence uint64
	result   *pb.PublishResult
	alone    bool // its event came alone, and so it is answered
}

// answerOf is the answer that says the first n of acks, of which there is one at least, in their order.
func answerOf(acks []ack) (answer *pb.PublishStreamResponse, n int) {
	if acks[0].alone {
		return &pb.PublishStreamResponse{Sequence: acks[0].sequence, Result: acks[0].result}, 1
	}
	for bytes := 0; n < len(acks) && n < MaxBatchEvents && !acks[n].alone; n++ {
		size := ackBytes
		if acks[n].result.GetError() != nil || len(acks[n].result.GetWarnings()) > 0 {
			size += proto.Size(acks[n].result)
		}
		if bytes += size; bytes > maxAnswerBytes && n > 0 {
			break
		}
	}
	said, list := make([]pb.Acknowledgement, n), make([]*pb.Acknowledgement, n)
	for i := range list {
		said[i].Sequence, said[i].Result, list[i] = acks[i].sequence, acks[i].result, &said[i]
	}
	return &pb.PublishStreamResponse{Acknowledgements: list}, n
}

// checkMessage says whether a message of a stream with several events is within its limits.
func checkMessage(req *pb.PublishStreamRequest) error {
	var f invalid.Fields
	if req.GetEvent() != nil {
		f.Add("event", "is set beside events: a message has one or the other")
	}
	if n := len(req.GetEvents()); n > MaxBatchEvents {
		f.Add("events", "has %d entries, the limit is %d", n, MaxBatchEvents)
	}
	bytes := 0
	for _, e := range req.GetEvents() {
		bytes += len(e.GetData())
	}
	if bytes > MaxBatchBytes {
		f.Add("events", "has %d bytes of data, the limit is %d", bytes, MaxBatchBytes)
	}
	return f.Err()
}
