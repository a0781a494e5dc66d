package sqldb

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Stamp is a time as it is stored: Unix nanoseconds, 0 for the zero time.
type Stamp struct{ T *time.Time }

// Scan reads a stored time.
func (s Stamp) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("time is a %T", v)
	}
	*s.T = time.Time{}
	if n != 0 {
		*s.T = time.Unix(0, n).UTC()
	}
	return nil
}

// Nanos is how a time is stored.
func Nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// Document is a JSON column.
type Document struct{ To any }

// Scan reads a stored JSON text.
func (d Document) Scan(v any) error {
	switch text := v.(type) {
	case string:
		return json.Unmarshal([]byte(text), d.To)
	case []byte:
		return json.Unmarshal(text, d.To)
	}
	return fmt.Errorf("JSON is a %T", v)
}

// AsJSON is the JSON text of a value that cannot fail to have one.
func AsJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts, numbers and bools only
	}
	return string(b)
}

// Places are the placeholders $1 to $n.
func Places(n int) string { return PlacesFrom(1, n) }

// PlacesFrom is Places of which the first one has that number.
func PlacesFrom(first, n int) string {
	b := make([]byte, 0, 5*n)
	for i := range n {
		if i > 0 {
			b = append(b, ',', ' ')
		}
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(first+i), 10)
	}
	return string(b)
}
