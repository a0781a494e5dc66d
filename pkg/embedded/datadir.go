package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// openDataDir creates dir if needed, takes its lock and checks its format.
func openDataDir(dir string) (*dataDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, dirError(dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: dir, lock: lock}
	if err := checkFormat(dir); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
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

// checkFormat stamps a new directory and refuses one of a newer format.
func checkFormat(dir string) error {
	path := filepath.Join(dir, "VERSION")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := writeFile(path, []byte(strconv.Itoa(formatVersion)+"\n")); err != nil {
			return dirError(dir, err)
		}
		return nil
	}
	if err != nil {
		return dirError(dir, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil:
		return fmt.Errorf("data directory %s: its VERSION file holds no number", dir)
	case v > formatVersion:
		return fmt.Errorf("data directory %s was written by a newer doorstep (format %d, this one knows %d)", dir, v, formatVersion)
	}
	return nil
}

// dirError is the one line that a user needs: which directory, and what is wrong with it.
func dirError(dir string, err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		err = path.Err
	}
	return fmt.Errorf("data directory %s: %w; choose another with --data", dir, err)
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
