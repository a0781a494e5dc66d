package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// rewrite returns data without the fields that the dotted paths of exclude name and, if stringify,
// with every scalar as a string.
//
// A path names fields of nested objects from the outside in ("current.customer.email"); arrays on
// the way are gone through, so "rows.price" takes the price from every row. A field whose own name
// holds a dot cannot be named.
//
// Stringified, 12.50 becomes "12.50" and true "true". null becomes "": PlanMill promises that "all
// fields use string data types", and a receiver that checks its schema of strings refuses null.
// Only data that is nothing but null stays null, for there it says that there is no data.
func rewrite(data []byte, exclude []string, stringify bool) ([]byte, error) {
	if !json.Valid(data) {
		return nil, errors.New("data is not valid JSON")
	}
	r := rewriter{in: data, out: make([]byte, 0, len(data)), stringify: stringify}
	r.space()
	if stringify && r.in[r.at] == 'n' {
		return []byte("null"), nil
	}
	r.value(newPaths(exclude))
	return r.out, nil
}

// paths are the names to exclude as a tree; a leaf is excluded. nil: nothing below here is.
type paths map[string]paths

func newPaths(exclude []string) paths {
	if len(exclude) == 0 {
		return nil
	}
	root := paths{}
	for _, path := range exclude {
		at := root
		names := strings.Split(path, ".")
		for i, name := range names {
			below, known := at[name]
			if known && below == nil {
				break // a field around it goes already
			}
			if i == len(names)-1 {
				at[name] = nil
				break
			}
			if !known {
				below = paths{}
				at[name] = below
			}
			at = below
		}
	}
	return root
}

// rewriter goes once over JSON that is known to be valid. json.Valid has bounded the depth.
type rewriter struct {
	in        []byte
	at        int
	out       []byte
	stringify bool
	skipping  bool // what is read is not written
}

func (r *rewriter) write(b ...byte) {
	if !r.skipping {
		r.out = append(r.out, b...)
	}
}

func (r *rewriter) space() {
	for r.at < len(r.in) {
		switch r.in[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// value copies the value that begins here.
func (r *rewriter) value(exclude paths) {
	switch r.in[r.at] {
	case '{':
		r.object(exclude)
	case '[':
		r.array(exclude)
	case '"':
		r.write(r.text()...)
	default:
		r.scalar()
	}
}

func (r *rewriter) object(exclude paths) {
	r.write('{')
	r.at++
	first := true
	for r.space(); r.in[r.at] != '}'; r.space() {
		if r.in[r.at] == ',' {
			r.at++
			r.space()
		}
		key := r.text()
		r.space()
		r.at++ // the colon
		r.space()
		below, named := exclude.find(key)
		if named && below == nil {
			r.skip()
			continue
		}
		if !first {
			r.write(',')
		}
		first = false
		r.write(key...)
		r.write(':')
		r.value(below)
	}
	r.at++
	r.write('}')
}

func (r *rewriter) array(exclude paths) {
	r.write('[')
	r.at++
	for r.space(); r.in[r.at] != ']'; r.space() {
		if r.in[r.at] == ',' {
			r.at++
			r.write(',')
			r.space()
		}
		r.value(exclude)
	}
	r.at++
	r.write(']')
}

// skip passes over a value.
func (r *rewriter) skip() {
	before := r.skipping
	r.skipping = true
	r.value(nil)
	r.skipping = before
}

// text reads a string with its quotes, as it is spelled.
func (r *rewriter) text() []byte {
	start := r.at
	for r.at++; r.in[r.at] != '"'; r.at++ {
		if r.in[r.at] == '\\' {
			r.at++
		}
	}
	r.at++
	return r.in[start:r.at]
}

// scalar copies a number, true, false or null.
func (r *rewriter) scalar() {
	start := r.at
	for r.at < len(r.in) && !strings.ContainsRune(" \t\n\r,]}", rune(r.in[r.at])) {
		r.at++
	}
	text := r.in[start:r.at]
	switch {
	case !r.stringify:
		r.write(text...)
	case text[0] == 'n':
		r.write('"', '"')
	default:
		r.write('"')
		r.write(text...)
		r.write('"')
	}
}

// find says what is excluded below a field and whether the paths name it; key has its quotes.
func (p paths) find(key []byte) (below paths, named bool) {
	if p == nil {
		return nil, false
	}
	if bytes.IndexByte(key, '\\') < 0 {
		below, named = p[string(key[1:len(key)-1])]
		return below, named
	}
	var name string
	if json.Unmarshal(key, &name) != nil {
		return nil, false
	}
	below, named = p[name]
	return below, named
}
