package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Limits of a YAML document once its aliases are replaced by what they stand for: a few lines can otherwise stand for
// more than any memory holds.
const (
	maxYAMLValues = 200_000
	maxYAMLDepth  = 100
)

// FromYAML is one YAML document as JSON, its keys in their order. Top-level keys that begin with "x-" are left out: they
// are where a document keeps what its aliases stand for. Its error is one line, with the line of the document.
func FromYAML(document []byte) ([]byte, error) {
	var root yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(document))
	if err := d.Decode(&root); errors.Is(err, io.EOF) {
		return nil, errors.New("is empty")
	} else if err != nil {
		return nil, fmt.Errorf("is not YAML: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("must be one YAML document")
	}
	c := converter{left: maxYAMLValues}
	if err := c.value(&root, 0); err != nil {
		return nil, err
	}
	return c.out.Bytes(), nil
}

type converter struct {
	out  bytes.Buffer
	left int // values that may still come
}

func (c *converter) value(n *yaml.Node, depth int) error {
	if c.left--; c.left < 0 {
		return fmt.Errorf("holds more than %d values, aliases counted as what they stand for", maxYAMLValues)
	}
	if depth > maxYAMLDepth {
		return fmt.Errorf("line %d: is nested more than %d deep", n.Line, maxYAMLDepth)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return c.value(n.Content[0], depth)
	case yaml.AliasNode:
		return c.value(n.Alias, depth+1)
	case yaml.MappingNode:
		return c.mapping(n, depth)
	case yaml.SequenceNode:
		c.out.WriteByte('[')
		for i, x := range n.Content {
			if i > 0 {
				c.out.WriteByte(',')
			}
			if err := c.value(x, depth+1); err != nil {
				return err
			}
		}
		c.out.WriteByte(']')
		return nil
	case yaml.ScalarNode:
		return c.scalar(n)
	case yaml.StreamNode:
	}
	return fmt.Errorf("line %d: is nothing that JSON has", n.Line)
}

func (c *converter) mapping(n *yaml.Node, depth int) error {
	c.out.WriteByte('{')
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			return fmt.Errorf("line %d: a key must be a text", key.Line)
		case key.ShortTag() == "!!merge":
			return fmt.Errorf("line %d: merge keys (<<) are not supported; write the keys out", key.Line)
		case seen[key.Value]:
			return fmt.Errorf("line %d: the key %q stands twice", key.Line, clip(key.Value))
		case depth == 0 && strings.HasPrefix(key.Value, "x-"):
			continue
		}
		if len(seen) > 0 {
			c.out.WriteByte(',')
		}
		seen[key.Value] = true
		if err := c.text(key.Value); err != nil {
			return err
		}
		c.out.WriteByte(':')
		if err := c.value(value, depth+1); err != nil {
			return err
		}
	}
	c.out.WriteByte('}')
	return nil
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func (c *converter) scalar(n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		c.out.WriteString("null")
		return nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return fmt.Errorf("line %d: is neither true nor false", n.Line)
		}
		c.out.WriteString(strconv.FormatBool(b))
		return nil
	case "!!int", "!!float":
		return c.number(n)
	}
	return c.text(n.Value) // dates too: JSON has none
}

// number is a number as it stands where JSON would write it so.
func (c *converter) number(n *yaml.Node) error {
	if jsonNumber.MatchString(n.Value) {
		c.out.WriteString(n.Value)
		return nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return fmt.Errorf("line %d: is not a number", n.Line)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("line %d: is not a number that JSON has", n.Line)
	}
	c.out.Write(b)
	return nil
}

func (c *converter) text(s string) error {
	e := json.NewEncoder(&c.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return err
	}
	c.out.Truncate(c.out.Len() - 1) // the encoder's line end
	return nil
}

// ToYAML is JSON as YAML, its keys in their order.
func ToYAML(document []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	root, err := node(d)
	if err != nil {
		return nil, fmt.Errorf("JSON as YAML: %w", err)
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return nil, fmt.Errorf("JSON as YAML: %w", err)
	}
	if err := e.Close(); err != nil {
		return nil, fmt.Errorf("JSON as YAML: %w", err)
	}
	return out.Bytes(), nil
}

// node reads the next value.
func node(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	scalar := func(tag, value string) (*yaml.Node, error) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}, nil
	}
	switch v := token.(type) {
	case nil:
		return scalar("!!null", "null")
	case bool:
		return scalar("!!bool", strconv.FormatBool(v))
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalar("!!float", v.String())
		}
		return scalar("!!int", v.String())
	case string:
		return scalar("!!str", v)
	case json.Delim:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if v == '{' {
			n = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		}
		for d.More() { // keys are values of their own here
			x, err := node(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, x)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		_, err := d.Token() // its end
		return n, err
	}
	return nil, errors.New("is not JSON")
}
