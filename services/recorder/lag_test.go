package recorder

import (
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

func TestLagsAge(t *testing.T) {
	at := func(second int) time.Time { return epoch.Add(time.Duration(second) * time.Second) }
	for name, tt := range map[string]struct {
		happens func(*lag)
		want    time.Duration // at second 100
	}{
		"nothing was ever there":       {func(l *lag) { l.counted(0, at(5)) }, 0},
		"SQL is away from the start":   {func(l *lag) { l.counted(7, at(95)) }, 100 * time.Second},
		"a batch in hand":              {func(l *lag) { l.counted(0, at(95)); l.took(at(60)) }, 40 * time.Second},
		"and written":                  {func(l *lag) { l.counted(0, at(95)); l.took(at(60)); l.wrote() }, 0},
		"catching up":                  {func(l *lag) { l.counted(9, at(95)); l.took(at(60)); l.wrote() }, 40 * time.Second},
		"caught up, and a new one":     {func(l *lag) { l.took(at(60)); l.wrote(); l.counted(0, at(90)); l.counted(1, at(95)) }, 10 * time.Second},
		"a clock that is ahead of us":  {func(l *lag) { l.took(at(120)) }, 0},
		"old records, read after none": {func(l *lag) { l.counted(0, at(90)); l.took(at(10)) }, 90 * time.Second},
	} {
		l := &lag{caughtUp: at(0)}
		tt.happens(l)
		if got := l.age(at(100)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

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
