package notifier

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// What has ended is known before anything is mailed, however far behind its notice it stands.
func TestNothingIsMailedBeforeAllIsRead(t *testing.T) {
	w := newWorld(t)
	a := w.administrator("acme", "a@example.com")
	n := notice("acme", failure.NoticeWarning)
	w.raise(n)
	var records []*kgo.Record
	for i := range 10 * kafka.MaxPoll {
		record := n
		record.Kind, record.NoticeID, record.AdministratorID = failure.NoticeMailed, fmt.Sprint(i), a.ID
		if i == 10*kafka.MaxPoll-1 {
			record.NoticeID = n.ID
		}
		record.ID = failure.MailedID(record.NoticeID, a.ID)
		r, err := wire.Notice(w.topics.Notices, record)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if err := w.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.ended()
	if got := w.office.all(); len(got) != 0 {
		t.Errorf("mails %v", got)
	}
}

func TestAPartitionThatIsEmptiedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	w.raise(notice("acme", failure.NoticeWarning), notice("acme", failure.NoticeWarning), notice("acme", failure.NoticeWarning))
	admin := kadm.NewClient(w.client)
	ends, err := admin.ListEndOffsets(t.Context(), w.topics.Notices)
	if err != nil {
		t.Fatal(err)
	}
	if deleted, err := admin.DeleteRecords(t.Context(), ends.Offsets()); err != nil || deleted.Error() != nil {
		t.Fatal(err, deleted.Error())
	}
	w.start()
	n := notice("acme", failure.NoticeWarning)
	w.raise(n)
	if got := w.office.await(t, 1); len(got) != 1 || got[0] != n.ID+" a@example.com" {
		t.Errorf("mails %v", got)
	}
}

// The log refuses what came of a mail: the record is tried again, the mail is not.
func TestTheLogRefusesARecord(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{
		"default.replication.factor": "1", "group.initial.rebalance.delay.ms": "0",
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := newWorld(t, c.ListenAddrs()...)
	w.administrator("acme", "a@example.com")
	w.start()
	n := notice("acme", failure.NoticeDisabled)
	var refused atomic.Int32
	w.office.onTaken(func(received) {
		c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
			if refused.Add(1) > 2 {
				return nil, nil, false
			}
			c.KeepControl()
			return refusal(req.(*kmsg.ProduceRequest)), nil, true
		})
	})
	w.raise(n)
	w.office.await(t, 1)
	w.ended()
	if record := w.mailed()[n.ID+" a@example.com"]; record.MailResult != failure.MailSent || refused.Load() < 2 {
		t.Errorf("record %+v after %d refusals", record, refused.Load())
	}
	if got := w.office.all(); len(got) != 1 {
		t.Errorf("mails %v", got)
	}
}

// refusal answers that the records are not valid, which no client tries again by itself.
func refusal(req *kmsg.ProduceRequest) *kmsg.ProduceResponse {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			answer := kmsg.NewProduceResponseTopicPartition()
			answer.Partition, answer.ErrorCode = p.Partition, kerr.InvalidRecord.Code
			topic.Partitions = append(topic.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func TestUnreadableRecordsAreQuarantinedOnce(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	w.write(&kgo.Record{Topic: w.topics.Notices, Key: []byte("w"), Value: []byte("nonsense")}, nil)
	unknown, err := wire.Notice(w.topics.Notices, notice("acme", "of a newer program"))
	w.write(unknown, err)
	n := notice("acme", failure.NoticeWarning)
	r := w.start()
	w.raise(n)
	w.ended()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = w.start()
	w.raise(n)
	w.ended()
	if got := w.office.all(); len(got) != 1 || r.metric(t, "doorstep_quarantined_total") != 0 {
		t.Errorf("mails %v, quarantined again: %v", got, r.metric(t, "doorstep_quarantined_total"))
	}
	ends, err := kadm.NewClient(w.client).ListEndOffsets(t.Context(), w.topics.Quarantine)
	if err != nil {
		t.Fatal(err)
	}
	kept := int64(0)
	ends.Each(func(o kadm.ListedOffset) { kept += o.Offset })
	if kept != 1 {
		t.Errorf("%d records in quarantine", kept)
	}
}

// Notices that come in transactions count once these end, and their markers hold up nothing.
func TestNoticesInTransactions(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	writer, err := w.cfg.Kafka.NewClient("writer", slog.New(slog.DiscardHandler), kgo.TransactionalID(w.cfg.Kafka.TopicPrefix+"writer"))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	var committed failure.Notice
	write := func(end kgo.TransactionEndTry) {
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		committed = notice("acme", failure.NoticeExpiry)
		r, err := wire.Notice(w.topics.Notices, committed)
		if err != nil {
			t.Fatal(err)
		}
		writer.Produce(t.Context(), r, nil)
		if err := errors.Join(writer.Flush(t.Context()), writer.EndTransaction(t.Context(), end)); err != nil {
			t.Fatal(err)
		}
	}
	write(kgo.TryAbort)
	r := w.start() // its partition ends with a marker
	write(kgo.TryAbort)
	write(kgo.TryCommit)
	w.office.await(t, 1)
	w.ended()
	if diff := cmp.Diff([]string{committed.ID + " a@example.com"}, w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.start()
}

// Once partitions are added, a webhook's key belongs elsewhere; its records stay where its notice is.
func TestMorePartitions(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	w.office.refuses(func(string) error { return later })
	r := w.start()
	var want []string
	for range 8 {
		n := notice("acme", failure.NoticeWarning)
		w.raise(n)
		want = append(want, n.ID+" a@example.com")
	}
	if _, err := kadm.NewClient(w.client).UpdatePartitions(t.Context(), 3*partitions, w.topics.Notices); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.office.refuses(nil)
	r = w.start()
	w.office.await(t, len(want))
	w.ended()
	w.mailed() // which looks at their partitions
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	testkit.DeleteKeys(t, w.cfg.Redis.URL, w.cfg.Redis.Prefix)
	w.start()
	if diff := cmp.Diff(pairs(want...), w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
}
