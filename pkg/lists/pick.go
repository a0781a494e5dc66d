package lists

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Pick leaves out of a JSON object, or of each object of an array, the names that are not shown. What stays
// keeps its order and its bytes. Nothing but objects and arrays of objects can be picked from.
func (f Fields) Pick(raw json.RawMessage) (json.RawMessage, error) {
	if f.All() {
		return raw, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	var out bytes.Buffer
	first, err := d.Token()
	switch {
	case err != nil:
		return nil, fmt.Errorf("pick fields: %w", err)
	case first == json.Delim('{'):
		err = f.pick(d, &out)
	case first == json.Delim('['):
		out.WriteByte('[')
		for i := 0; err == nil && d.More(); i++ {
			if i > 0 {
				out.WriteByte(',')
			}
			if first, err = d.Token(); err == nil && first == json.Delim('{') {
				err = f.pick(d, &out)
			}
		}
		out.WriteByte(']')
		if err == nil {
			_, err = d.Token()
		}
	default:
		return raw, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pick fields: %w", err)
	}
	return out.Bytes(), nil
}

// pick copies an object whose brace is read.
func (f Fields) pick(d *json.Decoder, out *bytes.Buffer) error {
	out.WriteByte('{')
	for some := false; d.More(); {
		token, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		name, _ := token.(string)
		if !f.Has(name) {
			continue
		}
		if some {
			out.WriteByte(',')
		}
		some = true
		quoted, err := json.Marshal(name)
		if err != nil {
			return err
		}
		out.Write(quoted)
		out.WriteByte(':')
		out.Write(value)
	}
	out.WriteByte('}')
	_, err := d.Token()
	return err
}
