package kafka

import (
	"context"
	"hash/crc32"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func TestWhatHangs(t *testing.T) {
	at := func(topic string, partition int32, epoch int16) kadm.DescribedProducer {
		return kadm.DescribedProducer{Topic: topic, Partition: partition, ProducerID: 7, ProducerEpoch: epoch, CoordinatorEpoch: 3}
	}
	other := at("out", 5, 10)
	other.ProducerID = 8
	old := at("out", 0, 91)
	old.CoordinatorEpoch = -1
	for name, tt := range map[string]struct {
		state string
		epoch int16
		err   error
		open  []kadm.DescribedProducer
		want  string
	}{
		"nothing is open":                        {"CompleteCommit", 93, nil, nil, ""},
		"the transaction under way":              {"Ongoing", 93, nil, []kadm.DescribedProducer{at("out", 1, 93)}, ""},
		"one that began meanwhile":               {"CompleteCommit", 93, nil, []kadm.DescribedProducer{at("out", 1, 94)}, ""},
		"one that is being committed":            {"PrepareCommit", 93, nil, []kadm.DescribedProducer{at("out", 1, 92)}, ""},
		"one that is being aborted":              {"PrepareAbort", 93, nil, []kadm.DescribedProducer{at("out", 1, 92)}, ""},
		"one whose producer is being fenced":     {"PrepareEpochFence", 93, nil, []kadm.DescribedProducer{at("out", 1, 92)}, ""},
		"a state of later brokers":               {"Resting", 93, nil, []kadm.DescribedProducer{at("out", 1, 92)}, ""},
		"an id that the coordinator cannot tell": {"", 0, kerr.NotCoordinator, []kadm.DescribedProducer{at("out", 1, 92)}, ""},
		"another producer's":                     {"Empty", 93, nil, []kadm.DescribedProducer{other}, ""},
		"committed, with its offsets": {
			"CompleteCommit", 93, nil, []kadm.DescribedProducer{at("out", 1, 92), at("out", 2, 92), at(OffsetsTopic, 4, 92)},
			"commit m on __consumer_offsets/4 out/1 out/2",
		},
		"aborted, but for one partition": {"CompleteAbort", 93, nil, []kadm.DescribedProducer{at("out", 1, 92)}, "abort m on out/1"},
		"forgotten, with its offsets": {
			"Empty", 94, nil, []kadm.DescribedProducer{at("out", 1, 92), at(OffsetsTopic, 4, 92)}, "abort m on __consumer_offsets/4 out/1",
		},
		"forgotten, its offsets ended":        {"Empty", 94, nil, []kadm.DescribedProducer{at("out", 1, 92)}, "commit m on out/1"},
		"an earlier one than was committed":   {"CompleteCommit", 95, nil, []kadm.DescribedProducer{at("out", 1, 92), at(OffsetsTopic, 4, 92)}, "abort m on __consumer_offsets/4 out/1"},
		"two, of which one is under way":      {"Ongoing", 93, nil, []kadm.DescribedProducer{at("out", 1, 91), at("out", 2, 93)}, "commit m on out/1"},
		"two":                                 {"Ongoing", 93, nil, []kadm.DescribedProducer{at("out", 1, 91), at("out", 2, 92), at(OffsetsTopic, 4, 92)}, "commit m on out/1; abort m on __consumer_offsets/4 out/2"},
		"one whose coordinator is not known":  {"Ongoing", 93, nil, []kadm.DescribedProducer{old}, "commit m on out/0"},
		"one of an epoch that begins a cycle": {"CompleteCommit", 1, nil, []kadm.DescribedProducer{at("out", 1, 0)}, "commit m on out/1"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, m := range hanging(kadm.DescribedTransaction{TxnID: "m", State: tt.state, ProducerID: 7, ProducerEpoch: tt.epoch, Err: tt.err}, tt.open) {
				got = append(got, words("m", m))
				if m.ProducerID != 7 || m.CoordinatorEpoch < 0 {
					t.Errorf("a marker of producer %d and coordinator epoch %d", m.ProducerID, m.CoordinatorEpoch)
				}
			}
			if s := strings.Join(got, "; "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

// A transaction that hangs is ended by who begins under its id, and readers go on.
func TestTransactEndsWhatHangs(t *testing.T) {
	if !testkit.RealKafka() {
		t.Skip("embedded: nothing is described there")
	}
	h := newHop(t)
	first := h.start(TransactOptions{Writes: []string{h.out}}, h.copyAll)
	h.put("a")
	h.want("a")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	adm, id := kadm.NewClient(h.client), h.cfg.TopicPrefix+"hop.one"
	hang(t, adm, h, id)

	again := h.start(TransactOptions{Writes: []string{h.out}}, h.copyAll)
	h.want("a", "hung") // nobody knew any more how it was to end, and its offsets did not hang
	h.put("b")
	h.want("a", "b", "hung")
	if err := again.stop(); err != nil {
		t.Fatal(err)
	}
}

// hang leaves a transaction open on partition 0 of the hop that its coordinator knows nothing of, and lets the
// coordinator name a later epoch: what a broker did that was killed while it ended a transaction.
func hang(t *testing.T, adm *kadm.Client, h *hop, id string) {
	t.Helper()
	verify := func(value string) {
		// The check of brokers that a transaction is known, for which none is needed that hangs.
		_, err := adm.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Name: "transaction.partition.verification.enable", Value: &value}})
		if err != nil {
			t.Fatal(err)
		}
	}
	verify("false")
	defer verify("true")
	described, err := adm.DescribeTransactions(t.Context(), id)
	if err != nil || described[id].Err != nil {
		t.Fatal(err, described[id].Err)
	}
	testkit.Eventually(t, 20*time.Second, func() error { return writeUnknown(t.Context(), h, id, described[id]) })
	fencer, err := h.cfg.NewClient("fencer", slog.New(slog.DiscardHandler), kgo.TransactionalID(id))
	if err != nil {
		t.Fatal(err)
	}
	defer fencer.Close()
	if _, _, err := fencer.ProducerID(t.Context()); err != nil {
		t.Fatal(err)
	}
	producers, err := adm.DescribeProducers(t.Context(), kadm.TopicsSet{h.out: {0: {}}})
	if err != nil || !slices.ContainsFunc(producers.SortedProducers(), func(p kadm.DescribedProducer) bool { return p.CurrentTxnStartOffset >= 0 }) {
		t.Fatalf("nothing hangs: %v, %v", producers.SortedProducers(), err)
	}
}

// writeUnknown writes a record of the transactional producer without its coordinator's knowledge.
func writeUnknown(ctx context.Context, h *hop, id string, of kadm.DescribedTransaction) error {
	record := kmsg.Record{Value: []byte("hung")}
	body := record.AppendTo(nil)[1:] // but for its length, which was not known
	record.Length = int32(len(body))
	now := time.Now().UnixMilli()
	batch := kmsg.RecordBatch{
		Magic: 2, Attributes: 0x10, PartitionLeaderEpoch: -1, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: of.ProducerID, ProducerEpoch: of.ProducerEpoch, NumRecords: 1, Records: record.AppendTo(nil),
	}
	raw := batch.AppendTo(nil)
	crc := crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))
	copy(raw[8:], kbin.AppendInt32(nil, int32(len(raw)-12)))
	copy(raw[17:], kbin.AppendUint32(nil, crc))
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks, req.TimeoutMillis = &id, -1, 5000
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = raw
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = h.out, append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)
	// A later version of the request would tell the coordinator.
	client, err := kgo.NewClient(kgo.SeedBrokers(h.cfg.Brokers...), kgo.MaxVersions(kversion.V3_8_0()))
	if err != nil {
		return err
	}
	defer client.Close()
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}
