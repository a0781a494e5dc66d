package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// formatVersion is the layout of the data directory that this version writes: doorstep.db,
// history.db, log/, and the files of this package beside it.
const formatVersion = 1

// dataDir is a data directory that this process alone uses.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir creates dir if needed, takes its lock and checks its format. It writes nothing to a directory
// that it refuses, but for its lock.
func openDataDir(dir string) (*dataDir, error) {
	if err := makeDir(dir); err != nil {
		return nil, dirError(dir, err)
	}
	isNew, err := checkFormat(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: dir, lock: lock}
	if err := diskRoom(dir); err != nil {
		d.close()
		return nil, dirError(dir, fmt.Errorf("%w: %w", unix.ENOSPC, err))
	}
	if !isNew {
		return d, nil
	}
	if err := writeFile(filepath.Join(dir, "VERSION"), []byte(strconv.Itoa(formatVersion)+"\n")); err != nil {
		d.close()
		return nil, dirError(dir, err)
	}
	return d, nil
}

// makeDir makes dir where it is not there, with what leads to it.
func makeDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err // links in a circle
	}
	return errors.New("it is a link to what does not exist")
}

// lockDir takes the lock of dir. The kernel frees it when the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, dirError(dir, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := make([]byte, 20)
		n, _ := f.Read(pid)
		f.Close()
		return nil, fmt.Errorf("data directory %s is in use by another doorstep (process %s); stop it or choose another with --data",
			dir, strings.TrimSpace(string(pid[:n])))
	}
	if err == nil {
		err = writeOver(f, strconv.Itoa(os.Getpid())+"\n")
	}
	if err != nil {
		f.Close()
		return nil, dirError(dir, err)
	}
	return f, nil
}

func writeOver(f *os.File, s string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// checkFormat tells whether dir is new, and refuses one of a newer format or of something else.
func checkFormat(dir string) (isNew bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return true, checkEmpty(dir)
	}
	if err != nil {
		return false, dirError(dir, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil || v < 1:
		return false, fmt.Errorf("data directory %s: its file VERSION is damaged; put it back from a backup (this version's holds %d), or choose another directory with --data",
			dir, formatVersion)
	case v > formatVersion:
		return false, fmt.Errorf("data directory %s was written by a newer doorstep (format %d, this one knows %d); run that version, or choose another directory with --data",
			dir, v, formatVersion)
	}
	return false, nil
}

// checkEmpty refuses a directory with files in it. What a first start leaves that was cut short may be there, and
// what a new file system has.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return dirError(dir, err)
	}
	for _, e := range entries {
		if !slices.Contains([]string{"lock", "VERSION.tmp", "lost+found"}, e.Name()) {
			return fmt.Errorf("data directory %s has files (%s) but no VERSION, so it is not doorstep's or not whole; choose an empty one with --data", dir, e.Name())
		}
	}
	return nil
}

// databases are the SQLite files of a data directory, and hasDatabases the file that says that they are there.
const hasDatabases = "has-databases"

func databases() []string { return []string{"doorstep.db", "history.db"} }

// noteDatabases notes once that the databases are there.
func noteDatabases(dir string) error {
	note := filepath.Join(dir, hasDatabases)
	if _, err := os.Stat(note); err == nil {
		return nil
	}
	for _, name := range databases() {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			return nil //nolint:nilerr // not yet there
		}
	}
	return writeFile(note, []byte(strings.Join(databases(), "\n")+"\n"))
}

// checkDatabases refuses a directory that has lost a database: SQLite would begin an empty one.
func checkDatabases(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, hasDatabases)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, name := range databases() {
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && info.Size() == 0 || errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("data directory %s: %s is missing or empty; put it back from a backup, or remove %s to go on without what it held",
				dir, name, hasDatabases)
		}
	}
	return nil
}

// dropMigrationLocks removes the empty files by which processes that share a database take turns to migrate it. Nobody
// shares this one, and what is no such file any more would keep it from being opened.
func dropMigrationLocks(dir string) error {
	for _, name := range databases() {
		if err := os.Remove(filepath.Join(dir, name+".migrate")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return dirError(dir, err)
		}
	}
	return nil
}

// dirError is the one line that a user needs: which directory, what is wrong with which of its files, and
// what to do.
func dirError(dir string, err error) error {
	what := err.Error()
	if path, ok := errors.AsType[*os.PathError](err); ok {
		what = path.Err.Error()
		if rel, err := filepath.Rel(dir, path.Path); err == nil && rel != "." && filepath.IsLocal(rel) {
			what = rel + ": " + what
		}
	}
	advice := "choose another with --data"
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		advice = "make room, or " + advice
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		advice = "run doorstep as its owner, or " + advice
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		advice = "allow more open files (ulimit -n)"
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP):
		what += " (its file system has no locks)"
	}
	return fmt.Errorf("data directory %s: %s; %s", dir, what, advice)
}

func (d *dataDir) close() { _ = d.lock.Close() }

// writeFile replaces a file whole: a reader finds the old content or the new, also after a crash.
func writeFile(path string, content []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
