package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// readFile reads a whole file; "-" is stdin.
func readFile(name string, in io.Reader) ([]byte, error) {
	if name == "-" {
		b, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("read stdin: %w", err)
		}
		return b, nil
	}
	return os.ReadFile(name) // its error names the file
}

// errLongLine says that a line was longer than its limit; the lines after it are read on.
var errLongLine = errors.New("too long")

// readLine reads one line without its end, or io.EOF. A line over limit bytes is skipped whole.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, more, err := r.ReadLine()
		if err != nil {
			return nil, err // io.EOF comes alone, after the last line
		}
		if long = long || len(line)+len(part) > limit; !long {
			line = append(line, part...)
		}
		if !more {
			break
		}
	}
	if long {
		return nil, errLongLine
	}
	return line, nil
}
