package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDirIsPrivateAndStamped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data")
	d, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", info.Mode(), err)
	}
	if v, err := os.ReadFile(filepath.Join(dir, "VERSION")); err != nil || string(v) != "1\n" {
		t.Errorf("VERSION = %q, %v", v, err)
	}
}

func TestDataDirRefusals(t *testing.T) {
	newer := t.TempDir()
	if err := os.WriteFile(filepath.Join(newer, "VERSION"), []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	used := t.TempDir()
	d, err := openDataDir(used)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		newer:                      "was written by a newer doorstep (format 2, this one knows 1)",
		used:                       "is in use by another doorstep (process ",
		filepath.Join(file, "dir"): "not a directory; choose another with --data",
		"/proc/self/data":          "no such file or directory; choose another with --data",
	} {
		d, err := openDataDir(dir)
		if err == nil {
			d.close()
			t.Errorf("%s opens, want %q", dir, want)
			continue
		}
		if msg := err.Error(); !strings.HasPrefix(msg, "data directory "+dir) || !strings.Contains(msg, want) || strings.Contains(msg, "\n") {
			t.Errorf("error %q, want one line with %q", msg, want)
		}
	}
}

func TestDataDirIsFreeAfterClose(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		d, err := openDataDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		d.close()
	}
}

func TestLimits(t *testing.T) {
	if err := diskLimit("/data", MinFreeDisk); err != nil {
		t.Errorf("256 MiB free: %v", err)
	}
	if err := diskLimit("/data", MinFreeDisk-1); err == nil || err.Error() != "disk of /data has 255 MiB free, 256 MiB are needed" {
		t.Errorf("one byte less: %v", err)
	}
	if err := logLimit(9, 10); err != nil {
		t.Errorf("below the bound: %v", err)
	}
	if err := logLimit(10, 10); err == nil {
		t.Error("at the bound: no error")
	}
	if free, err := freeDisk(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("freeDisk = %d, %v", free, err)
	}
}

// A stop within the first second notes what is there, as the keeping of each second would have.
func TestAStopNotesWhatIsThere(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Log: true, LogMaxBytes: MinLogMaxBytes, SQL: true}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	createTopic(t, client(t, s.Brokers()), "events", nil)
	for _, path := range []string{s.SQLPath(), s.HistoryPath()} {
		if err := os.WriteFile(path, []byte("a database"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if _, err := os.Stat(topicsCopy(cfg.Dir)); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(cfg.Dir, "doorstep.db")); err != nil {
		t.Fatal(err)
	}
	s, err = Open(t.Context(), cfg)
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "doorstep.db is missing or empty") {
		t.Errorf("it is opened without its database: %v", err)
	}
}
