package recorder

import (
	"errors"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Config is the recorder's settings.
type Config struct {
	Kafka    kafka.Config `kong:"-"`
	SQL      sqldb.Config `kong:"-"` // of the history
	Instance string       `kong:"-"` // static membership; empty: dynamic

	Retention    time.Duration `name:"history-retention" env:"DOORSTEP_HISTORY_RETENTION" default:"960h" help:"How long the history of events, deliveries and attempts is kept, counted from when the event was received; whole days (UTC) go at once. Payloads are kept by the log, for its topics' retention; that of suspended deliveries is 30 days, and the 10 days more by default are for listing as expired what has been suspended for longer."`
	BatchRecords int           `name:"recorder-batch-records" env:"DOORSTEP_RECORDER_BATCH_RECORDS" default:"5000" help:"Records that are written to SQL in one transaction, at most."`
	BatchWait    time.Duration `name:"recorder-batch-wait" env:"DOORSTEP_RECORDER_BATCH_WAIT" default:"50ms" help:"How long a transaction waits for more records after its first."`
}

const (
	minRetention = 24 * time.Hour // tables go by days
	maxBatch     = 100_000
	maxBatchWait = 10 * time.Second
)

// Reads are the topics that recorders read, by their group.
func Reads(cfg kafka.Config) (map[string][]string, error) {
	topics, err := cfg.Topics()
	if err != nil {
		return nil, err
	}
	return map[string][]string{groupName(cfg): handler{topics}.read()}, nil
}

func groupName(cfg kafka.Config) string { return cfg.TopicPrefix + name }

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	errs := []error{c.Kafka.Validate(), c.SQL.Validate()}
	if c.Retention < minRetention {
		errs = append(errs, errors.New("history-retention: must be at least 24h"))
	}
	if c.BatchRecords < 1 || c.BatchRecords > maxBatch {
		errs = append(errs, errors.New("recorder-batch-records: must be from 1 to 100000"))
	}
	if c.BatchWait < 0 || c.BatchWait > maxBatchWait {
		errs = append(errs, errors.New("recorder-batch-wait: must be from 0s to 10s"))
	}
	return errors.Join(errs...)
}
