package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of what is checked against a schema.
const (
	MaxDataDepth    = 128 // objects and arrays within one another
	MaxNumberLength = 400 // characters of a number, and the largest exponent of ten
)

// decode reads one JSON value, with its numbers as they stand. Numbers are compared exactly, so that one of a few
// characters can cost megabytes: what is beyond the limits is refused.
func decode(data []byte, maxDepth int) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errors.New("is not valid JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("is not valid JSON: something follows the value")
	}
	return v, bounded(v, maxDepth, maxDepth)
}

func bounded(v any, left, limit int) error {
	switch v := v.(type) {
	case json.Number:
		if !smallNumber(v.String()) {
			return fmt.Errorf("holds a number of more than %d digits, or with an exponent beyond %d", MaxNumberLength, MaxNumberLength)
		}
	case []any:
		if left == 0 {
			return tooDeep(limit)
		}
		for _, x := range v {
			if err := bounded(x, left-1, limit); err != nil {
				return err
			}
		}
	case map[string]any:
		if left == 0 {
			return tooDeep(limit)
		}
		for _, x := range v {
			if err := bounded(x, left-1, limit); err != nil {
				return err
			}
		}
	}
	return nil
}

func tooDeep(limit int) error {
	return fmt.Errorf("has objects and arrays within one another more than %d deep", limit)
}

func smallNumber(n string) bool {
	if len(n) > MaxNumberLength {
		return false
	}
	i := strings.IndexAny(n, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(n[i+1:])
	return err == nil && exponent <= MaxNumberLength && exponent >= -MaxNumberLength
}
