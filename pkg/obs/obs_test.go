package obs

import (
	"bytes"
	"encoding/json"
	"runtime/debug"
	"slices"
	"testing"
)

func TestLoggerLevels(t *testing.T) {
	for level, want := range map[string]int{"debug": 3, "info": 2, "": 2, "WARN": 1, "error": 0} {
		var out bytes.Buffer
		log, err := Logger(&out, level)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("attempt", "delivery", "d1")
		log.Info("started")
		log.Warn("redis away")
		lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
		if out.Len() == 0 {
			lines = nil
		}
		if len(lines) != want {
			t.Errorf("level %q: %d lines, want %d", level, len(lines), want)
		}
		for _, line := range lines {
			if !json.Valid(line) {
				t.Errorf("level %q: not JSON: %s", level, line)
			}
		}
	}
	if _, err := Logger(nil, "loud"); err == nil || err.Error() != `log level "loud": want debug, info, warn or error` {
		t.Errorf("unknown level: %v", err)
	}
}

func TestCommit(t *testing.T) {
	set := func(kv ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{}
		for i := 0; i < len(kv); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return info
	}
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for want, info := range map[string]*debug.BuildInfo{
		"unknown":            set(),
		"0123456789ab":       set("vcs.revision", commit, "vcs.modified", "false"),
		"0123456789ab-dirty": set("vcs.revision", commit, "vcs.modified", "true"),
	} {
		if got := commitOf(info); got != want {
			t.Errorf("commitOf(%v) = %q, want %q", info.Settings, got, want)
		}
	}
}

func TestRegistryTellsTheBuild(t *testing.T) {
	families, err := Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	for _, want := range []string{"doorstep_build_info", "go_goroutines", "process_resident_memory_bytes"} {
		if !slices.Contains(names, want) {
			t.Errorf("registry lacks %s: %v", want, names)
		}
	}
}

func TestBucketsRise(t *testing.T) {
	for name, b := range map[string][]float64{"delay": DelayBuckets(), "work": WorkBuckets()} {
		if !slices.IsSorted(b) || len(slices.Compact(slices.Clone(b))) != len(b) {
			t.Errorf("%s buckets do not rise: %v", name, b)
		}
	}
}
