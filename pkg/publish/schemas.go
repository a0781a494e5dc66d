package publish

import (
	"bytes"
	"sync"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// maxSchemas bounds the compiled schemas that are kept; beyond it all are compiled anew as they are needed.
const maxSchemas = 5_000

// schemas are the compiled schemas of event types, each compiled once until it changes. It is safe for concurrent use.
type schemas struct {
	mu   sync.Mutex
	kept map[typeName]*schema
}

type typeName struct{ tenant, name string }

// schema is one as it stands in a catalogue.
type schema struct {
	text    []byte
	compile func() *catalogue.Schema // once; nil: it does not compile
}

func newSchemas() *schemas { return &schemas{kept: map[typeName]*schema{}} }

// check says where data does not fit the schema of an event type, fields named data.current.id and so on. A type without a
// schema, or with one that does not compile, which no catalogue takes in, fits everything.
func (s *schemas) check(t tenant.EventType, data []byte) invalid.Fields {
	if len(t.Schema) == 0 {
		return nil
	}
	compiled := s.of(t).compile()
	if compiled == nil {
		return nil
	}
	return compiled.Check("data", data)
}

// of is the schema of an event type. It is compiled outside of the lock: only who needs this one waits for it.
func (s *schemas) of(t tenant.EventType) *schema {
	name := typeName{t.Tenant, t.Type}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The text, and no version: a type that is deleted and made again counts from 1 again. Text that has not changed is the same
	// memory, which bytes.Equal sees at once.
	if kept, ok := s.kept[name]; ok && bytes.Equal(kept.text, t.Schema) {
		return kept
	}
	if len(s.kept) >= maxSchemas {
		clear(s.kept)
	}
	fresh := &schema{text: t.Schema, compile: sync.OnceValue(func() *catalogue.Schema {
		compiled, err := catalogue.Compile(t.Schema)
		if err != nil {
			return nil
		}
		return compiled
	})}
	s.kept[name] = fresh
	return fresh
}
