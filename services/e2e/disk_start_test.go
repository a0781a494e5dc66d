//go:build linux

package e2e

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// nobody runs the program as a user without rights, where this process may choose.
func nobody(t *testing.T, m *machine) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	m.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	dir := t.TempDir() // the one in which the program is built is closed to others
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "doorstep")
	sh(t, "cp %s %s", m.program, program)
	m.program = program
}

// own gives a directory to the user that the program runs as.
func own(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() == 0 {
		sh(t, "chown -Rh 65534:65534 '%s'", dir)
	}
}

func sh(t *testing.T, format string, args ...any) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", fmt.Sprintf(format, args...)).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", fmt.Sprintf(format, args...), err, out)
	}
}

// Data directories that cannot be used: each is refused with one line that names it and says what to do, and
// nothing is written to it.
func TestDataDirectoryRefused(t *testing.T) {
	embeddedOnly(t)
	m := newMachine(t, t.TempDir()+"/base", nil)
	nobody(t, m)
	parent := filepath.Dir(m.data)
	own(t, parent)
	m.up()
	r := testkit.NewReceiver(t)
	m.register(r.URL+"/ok", nil)
	m.inForce()
	m.events.many(5)
	m.events.arrive(r)
	running := newMachine(t, m.data, nil)
	running.program, running.attr = m.program, m.attr
	running.run()
	if line, want := running.refusal(), fmt.Sprintf("data directory %s is in use by another doorstep (process %d)", m.data, m.cmd.Process.Pid); !strings.Contains(line, want) {
		t.Errorf("a second one says %q, want %q", line, want)
	}
	m.stop()
	base := m.data
	for name, tt := range map[string]struct {
		spoil string // by a shell, in a copy of the directory
		want  string
	}{
		"a file":                  {`rm -r "$D"; echo x > "$D"`, "not a directory; choose another with --data"},
		"a loop of links":         {`rm -r "$D"; ln -s "$D" "$D"`, "too many levels of symbolic links; choose another with --data"},
		"may not be written to":   {`chmod -R a-w "$D"`, "permission denied; run doorstep as its owner"},
		"of somebody else":        {`chmod 700 "$D"; chown 1 "$D" 2>/dev/null || chmod 0 "$D"`, "permission denied; run doorstep as its owner"},
		"a file is closed":        {`chmod 0 "$D/log/topics.json"`, "log/topics.json: permission denied"},
		"a database is closed":    {`chmod 0 "$D/doorstep.db"`, "doorstep.db: permission denied"},
		"of something else":       {`rm -r "$D"; mkdir "$D"; echo x > "$D/thesis.txt"`, "has files (thesis.txt) but no VERSION"},
		"of a newer version":      {`echo 7 > "$D/VERSION"`, "was written by a newer doorstep (format 7, this one knows 1)"},
		"no number in VERSION":    {`: > "$D/VERSION"`, "VERSION is damaged"},
		"log of a newer version":  {`echo '{"version":2,"cluster_id":"doorstep"}' > "$D/log/meta.json"`, "was written by a newer doorstep (format 2, this one knows 1)"},
		"no database":             {`rm "$D"/doorstep.db*`, "doorstep.db is missing or empty; put it back from a backup"},
		"an empty database":       {`: > "$D/doorstep.db"`, "doorstep.db is missing or empty; put it back from a backup"},
		"no history":              {`rm "$D"/history.db*`, "history.db is missing or empty; put it back from a backup"},
		"garbage as a database":   {`yes garbage | head -c 20000 > "$D/doorstep.db"`, "doorstep.db is damaged (no SQLite database); put it back from a backup"},
		"a database cut short":    {`truncate -s 20000 "$D/doorstep.db"`, "doorstep.db is damaged ("},
		"a history cut short":     {`truncate -s 20000 "$D/history.db"`, "history.db is damaged ("},
		"garbage in a database":   {`yes garbage | head -c 40000 | dd of="$D/doorstep.db" bs=1 seek=4096 conv=notrunc 2>/dev/null`, "doorstep.db is damaged ("},
		"no topics, nor the copy": {`rm "$D/log/topics.json" "$D/log-topics.json"`, "log/topics.json is missing or damaged, and so is its copy"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newMachine(t, filepath.Join(parent, "copy-"+strings.ReplaceAll(name, " ", "-")), nil)
			h.program, h.attr = m.program, m.attr
			sh(t, `cp -a '%s' '%s'; D='%s'; %s`, base, h.data, h.data, tt.spoil)
			before := listing(t, h.data)
			h.run()
			line := h.refusal()
			if !strings.Contains(line, h.data) || !strings.Contains(line, tt.want) {
				t.Errorf("it says %q, want %q with %q", line, h.data, tt.want)
			}
			if after := listing(t, h.data); before != after && !strings.Contains(tt.want, "damaged (") {
				t.Errorf("it was written to:\n%s\nbefore:\n%s", after, before)
			}
			t.Log(line)
		})
	}
	t.Run("tables of a newer version", func(t *testing.T) {
		for file, table := range map[string]string{"doorstep.db": "goose_db_version", "history.db": "goose_history_version"} {
			h := newMachine(t, filepath.Join(parent, "newer-"+file), nil)
			h.program, h.attr = m.program, m.attr
			sh(t, `cp -a '%s' '%s'`, base, h.data)
			db, err := sql.Open("sqlite", filepath.Join(h.data, file))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(`INSERT INTO ` + table + ` (version_id, is_applied) VALUES (99, 1)`); err != nil {
				t.Fatal(err)
			}
			db.Close()
			h.run()
			if line := h.refusal(); !strings.Contains(line, file+" has tables of a newer doorstep (schema 99, this one knows ") {
				t.Errorf("it says %q", line)
			}
		}
	})
}

// listing is what a directory holds, but for the lock that names the process.
func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", fmt.Sprintf(`find '%s' -type f ! -name lock ! -name '*-shm' ! -name '*-wal' -printf '%%P %%s %%T@\n' 2>/dev/null | sort`, dir)).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// Names that a shell or a URL would not take as they are.
func TestDataDirectoryNames(t *testing.T) {
	long(t)
	for _, name := range []string{"with spaces", "Türstufe ドア", "a?b#c%20d&e", "link", "relative"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			if name == "link" {
				if err := os.Symlink(t.TempDir(), dir); err != nil {
					t.Fatal(err)
				}
			}
			h := newMachine(t, dir, nil)
			if name == "relative" {
				rel, err := filepath.Rel(must(os.Getwd()), dir)
				if err != nil {
					t.Fatal(err)
				}
				h.data = rel
			}
			r := testkit.NewReceiver(t)
			for range 2 {
				h.up()
				if len(r.Requests()) == 0 {
					h.register(r.URL+"/ok", nil)
					h.inForce()
				}
				h.events.many(3)
				h.events.arrive(r)
				h.stop()
			}
			for _, file := range []string{"doorstep.db", "history.db", "log/topics.json"} {
				if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}
