package embedded

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// work does everything that a log does to its files, and tells on stdout what has been acknowledged: it rolls
// segments, compacts, notes, trims, stops.
func work(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir, Log: true, LogMaxBytes: MinLogMaxBytes})
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()...), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "events"); err != nil {
		return err
	}
	if _, err := adm.CreateTopic(ctx, 1, 1, compacted(), "states"); err != nil {
		return err
	}
	pad := strings.Repeat("x", 40<<10)
	for i := range 40 {
		for _, r := range []*kgo.Record{
			{Topic: "events", Value: fmt.Appendf(nil, "%d %s", i, pad)},
			{Topic: "states", Key: fmt.Append(nil, i%3), Value: fmt.Appendf(nil, "%d", i)},
		} {
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				return err
			}
			fmt.Println(r.Topic, i)
		}
		if i%10 != 9 {
			continue
		}
		var offsets kadm.Offsets
		offsets.AddOffset("events", 0, int64(i-5), -1)
		if err := adm.CommitAllOffsets(ctx, "matcher", offsets); err != nil {
			return err
		}
		s.log.retainedAt, s.log.notedPlacesAt = time.Time{}, time.Time{}
		if _, _, err := s.log.keep(ctx, true); err != nil {
			return err
		}
	}
	cl.Close()
	s.Close()
	return nil
}
