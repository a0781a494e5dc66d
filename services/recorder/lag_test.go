package recorder

import (
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

func TestSettings(t *testing.T) {
	good := Config{
		Kafka: kafka.Config{Brokers: []string{"127.0.0.1:1"}, RetryTiers: "1m"}, SQL: sqldb.Config{SQLitePath: "x"},
		Retention: 24 * time.Hour, BatchRecords: 1,
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"kafka-brokers":          func(c *Config) { c.Kafka.Brokers = nil },
		"postgres-url":           func(c *Config) { c.SQL.SQLitePath = "" },
		"history-retention":      func(c *Config) { c.Retention = 23 * time.Hour },
		"recorder-batch-records": func(c *Config) { c.BatchRecords = 0 },
		"recorder-batch-wait":    func(c *Config) { c.BatchWait = time.Minute },
	} {
		cfg := good
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("want a fault of %s, got %v", want, err)
		}
	}
}
