package console

import (
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// nullable describes what decode and merged do with the null of a body: it is taken for a field that is left out, as is
// a time that is an empty text, and it removes an entry of a map. Fields that are required are not to be null.
func nullable(schemas huma.Registry, s *huma.Schema) {
	if s.Ref != "" {
		s = schemas.SchemaFromRef(s.Ref)
	}
	for _, one := range s.OneOf {
		nullable(schemas, one)
	}
	if s.Items != nil {
		nullable(schemas, s.Items)
	}
	for name, p := range s.Properties {
		if p.Type == huma.TypeObject || p.Ref != "" {
			nullable(schemas, p)
		}
		if !slices.Contains(s.Required, name) {
			s.Properties[name] = orNullSchema(p)
		}
	}
	if values, ok := s.AdditionalProperties.(*huma.Schema); ok {
		s.AdditionalProperties = orNullSchema(values)
	}
}

// orNullSchema is a schema that allows null too.
func orNullSchema(s *huma.Schema) *huma.Schema {
	null := &huma.Schema{Type: "null"}
	switch {
	case s.Format == "date-time":
		none := 0
		return &huma.Schema{AnyOf: []*huma.Schema{
			{Type: huma.TypeString, Format: s.Format}, {Type: huma.TypeString, MaxLength: &none}, null,
		}, Description: s.Description}
	case s.Ref != "":
		return &huma.Schema{AnyOf: []*huma.Schema{s, null}, Description: s.Description}
	case len(s.OneOf) > 0:
		return &huma.Schema{AnyOf: append(slices.Clone(s.OneOf), null), Description: s.Description}
	case len(s.AnyOf) > 0, s.Nullable, s.Type == "":
		return s // it does already, or allows everything
	}
	s.Nullable = true
	if len(s.Enum) > 0 {
		s.Enum = append(slices.Clone(s.Enum), nil)
	}
	return s
}
