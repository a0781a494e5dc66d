package catalogue_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/payload"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// What is sent for the example of every shipped type fits the schema of the body, in every format.
func TestBodiesFitTheirSchema(t *testing.T) {
	formats := []webhook.Format{
		webhook.FormatRaw, webhook.FormatStandard, webhook.FormatCloudEvents, webhook.FormatThin, webhook.FormatHook,
	}
	for _, name := range catalogue.Shipped() {
		p := load(t, name)
		of, types, _ := p.Apply(tenant.Tenant{ID: "acme"}, nil)
		for _, x := range types {
			e := event.Record{Event: event.Event{
				ID: "e-1", Tenant: "acme", Type: x.Type, ExternalReference: "1104", Data: x.Example, Attributes: map[string]string{"eventUser": "545"},
			}}
			for _, format := range append(formats, of.Payload.Format) {
				options := webhook.Payload{Format: format}
				if format == of.Payload.Format {
					options = of.Payload
				}
				body, err := payload.Build(e, options)
				if err != nil {
					t.Fatal(err)
				}
				schema := compile(t, string(catalogue.BodySchema(x, options)))
				if f := schema.Check("body", body.Bytes); len(f) > 0 {
					t.Errorf("%s as %s: %v\n%s", x.Type, format, f, body.Bytes)
				}
				other := x
				other.Type = "another.type"
				if f := compile(t, string(catalogue.BodySchema(other, options))).Check("body", body.Bytes); len(f) == 0 && format != webhook.FormatRaw {
					t.Errorf("%s as %s fits another type", x.Type, format)
				}
			}
		}
	}
}

// References of a type's schema lead to the same within the schema of a body.
func TestBodySchemaKeepsReferences(t *testing.T) {
	for schema, wrong := range map[string]string{
		`{"$defs":{"n":{"type":"number"}},"properties":{"a":{"$ref":"#/$defs/n"}}}`:                                `{"a":"x"}`,
		`{"$id":"https://example.com/a","$defs":{"n":{"type":"number"}},"properties":{"a":{"$ref":"a#/$defs/n"}}}`: `{"a":"x"}`,
		`false`: `{}`,
	} {
		x := tenant.EventType{Type: "a.b", Schema: []byte(schema), Attributes: []string{`odd"name`, "payload"}}
		whole := compile(t, string(catalogue.BodySchema(x, webhook.Payload{Format: webhook.FormatHook})))
		if f := whole.Check("body", []byte(`{"hook":"a.b","Id":1,"odd\"name":2,"payload":`+wrong+`}`)); len(f) != 1 {
			t.Errorf("%s: %v", schema, f)
		}
	}
	for _, format := range []webhook.Format{"", webhook.FormatHook} {
		if f := compile(t, string(catalogue.BodySchema(tenant.EventType{Type: "a.b"}, webhook.Payload{Format: format}))).Check("body", []byte(`{"hook":"a.b"}`)); len(f) > 0 {
			t.Error(f)
		}
	}
}
