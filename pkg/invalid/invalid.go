// Package invalid says what is wrong with an input, field by field.
package invalid

import (
	"fmt"
	"strings"
)

// Field is one field at fault: its name as the caller wrote it (e.g. "attributes[colour]") and
// what is wrong, with the limit. It never holds the value where that may be a secret or payload.
type Field struct {
	Name    string
	Message string
}

// Fields is all that is wrong with an input. As an error it is never empty: use Err.
type Fields []Field

// Add notes a fault.
func (f *Fields) Add(name, format string, args ...any) {
	*f = append(*f, Field{Name: name, Message: fmt.Sprintf(format, args...)})
}

// Err is nil if nothing is wrong, else a Fields.
func (f Fields) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Error names every field and its fault on one line.
func (f Fields) Error() string {
	parts := make([]string, len(f))
	for i, x := range f {
		parts[i] = x.Name + ": " + x.Message
	}
	return strings.Join(parts, "; ")
}
