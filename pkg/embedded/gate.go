package embedded

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

// What the broker answers while there is no room: errors after which clients try again.
var (
	storageError = kerr.KafkaStorageError.Code
	loading      = kerr.CoordinatorLoadInProgress.Code
	concurrent   = kerr.ConcurrentTransactions.Code
)

// gate lets requests that write to the log pass while the disk has room for what they write. Each of them
// is asked about before the broker has begun with it: a write that fails within the broker would leave
// a transaction that its client takes for committed without its end mark, and a place after it.
type gate struct {
	dir  string
	room func(dir string) error
}

// guard puts the gate before the broker's requests.
func (g *gate) guard(cluster *kfake.Cluster) {
	for key, refuse := range map[kmsg.Key]func(kmsg.Request) kmsg.Response{
		kmsg.Produce: refuseProduce, kmsg.EndTxn: refuseEndTxn, kmsg.OffsetCommit: refuseOffsetCommit,
		kmsg.TxnOffsetCommit: refuseTxnOffsetCommit, kmsg.InitProducerID: refuseInitProducerID, kmsg.JoinGroup: refuseJoinGroup,
	} {
		g.stand(cluster, key, refuse)
	}
}

// stand asks before the next request of a kind, and then stands before the one after it: what stays there for
// good keeps the last request of every connection in memory, also of those that are closed.
func (g *gate) stand(cluster *kfake.Cluster, key kmsg.Key, refuse func(kmsg.Request) kmsg.Response) {
	cluster.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // the broker's signature
		cluster.DropControl()
		g.stand(cluster, key, refuse)
		if g.room(g.dir) == nil {
			return nil, nil, false
		}
		return refuse(req), nil, true
	})
}

func refuseProduce(kreq kmsg.Request) kmsg.Response {
	req, resp := kreq.(*kmsg.ProduceRequest), kreq.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, storageError
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func refuseEndTxn(kreq kmsg.Request) kmsg.Response {
	resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
	resp.ErrorCode = concurrent
	return resp
}

func refuseInitProducerID(kreq kmsg.Request) kmsg.Response {
	resp := kreq.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = concurrent, -1, -1
	return resp
}

func refuseJoinGroup(kreq kmsg.Request) kmsg.Response {
	resp := kreq.ResponseKind().(*kmsg.JoinGroupResponse)
	resp.ErrorCode = loading
	return resp
}

func refuseOffsetCommit(kreq kmsg.Request) kmsg.Response {
	req, resp := kreq.(*kmsg.OffsetCommitRequest), kreq.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			part := kmsg.NewOffsetCommitResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, storageError
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func refuseTxnOffsetCommit(kreq kmsg.Request) kmsg.Response {
	req, resp := kreq.(*kmsg.TxnOffsetCommitRequest), kreq.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewTxnOffsetCommitResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, loading
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// brokerLog passes the broker's warnings on; it tells each request at the levels below. At the first write
// that failed it stops the broker where it is, for good: the broker would go on, and acknowledge what its files do
// not say. The files are then as a crash leaves them, which the next start mends.
type brokerLog struct {
	log    *slog.Logger
	once   sync.Once
	failed chan struct{} // closed after err is set
	err    error
}

func newBrokerLog(log *slog.Logger) *brokerLog {
	return &brokerLog{log: log, failed: make(chan struct{})}
}

func (b *brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError, kfake.LogLevelWarn:
		if failedWrite(format) {
			b.fail(fmt.Errorf(format, args...))
			select {} // the broker's one goroutine, which holds no lock that anybody else waits for
		}
		if level == kfake.LogLevelError {
			b.log.Error("embedded log: " + fmt.Sprintf(format, args...))
		} else {
			b.log.Warn("embedded log: " + fmt.Sprintf(format, args...))
		}
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
	}
}

func (b *brokerLog) fail(err error) {
	b.once.Do(func() {
		b.err = err
		close(b.failed)
	})
}

// failedWrite tells by the broker's message whether a write failed that something acknowledged depends on.
// A state that is not written at a stop, and a journal that is not shortened, are not among these: the
// files that they would replace are whole.
func failedWrite(format string) bool {
	for _, begin := range []string{"persist batch ", "persist group entry ", "persist pid entry ", "persist %s: ", "rebuildSegments ", "endTx: failed "} {
		if strings.HasPrefix(format, begin) {
			return true
		}
	}
	return false
}

// reserve and reserveFiles are what the disk must have free for the log to be written to.
const (
	reserve      = 16 << 20
	reserveFiles = 64
)

// diskRoom errs where the disk of dir has less free than the reserve.
func diskRoom(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("free disk of %s: %w", dir, err)
	}
	switch free := int64(fs.Bavail) * int64(fs.Bsize); { //nolint:gosec,unconvert // no disk has 2^63 bytes; the types differ by system
	case free < reserve:
		return fmt.Errorf("disk of %s has %s free, %s are needed", dir, mib(free), mib(reserve))
	case fs.Files > 0 && fs.Ffree < reserveFiles:
		return fmt.Errorf("disk of %s has room for %d more files, %d are needed", dir, fs.Ffree, reserveFiles)
	}
	return nil
}
