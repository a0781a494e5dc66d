package catalogue

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// BodySchema is the JSON Schema of what a webhook is sent for events of t under the payload options p. Without a schema of
// the data it says what is around it. Where p removes fields or turns scalars into strings, the data is described as it is
// published: a schema that is written for strings, as those of the profile planmill, holds for both.
func BodySchema(t tenant.EventType, p webhook.Payload) []byte {
	data := embedded(t)
	switch p.Format {
	case webhook.FormatStandard:
		return object(t, `"type","timestamp","data"`, fmt.Sprintf(
			`"type":{"const":%q},"timestamp":{"type":"string","format":"date-time"},"data":%s`, t.Type, data))
	case webhook.FormatCloudEvents:
		return object(t, `"specversion","id","source","type","time","data"`, fmt.Sprintf(
			`"specversion":{"const":"1.0"},"id":{"type":"string"},"source":{"type":"string"},"type":{"const":%q},"subject":{"type":"string"},`+
				`"time":{"type":"string","format":"date-time"},"datacontenttype":{"const":"application/json"},"data":%s`, t.Type, data))
	case webhook.FormatThin:
		return object(t, `"hook","id","external_reference","attributes"`, fmt.Sprintf(
			`"hook":{"const":%q},"id":{"type":"string"},"external_reference":{"type":"string"},`+
				`"attributes":{"type":"object","additionalProperties":{"type":"string"}}`, t.Type))
	case webhook.FormatHook:
		return object(t, `"hook"`, hookProperties(t, data))
	case webhook.FormatRaw, "":
	}
	if len(t.Schema) == 0 {
		return []byte("true")
	}
	return t.Schema
}

// hookProperties are those of PlanMill's hook.
func hookProperties(t tenant.EventType, data []byte) string {
	const id = `{"type":["integer","string"]}`
	var b bytes.Buffer
	fmt.Fprintf(&b, `"hook":{"const":%q},"Id":%s`, t.Type, id)
	for _, name := range t.Attributes {
		if name == "hook" || name == "Id" || name == "payload" {
			continue
		}
		if key, err := json.Marshal(name); err == nil { // which a string always is
			fmt.Fprintf(&b, `,%s:%s`, key, id)
		}
	}
	fmt.Fprintf(&b, `,"payload":%s`, data)
	return b.String()
}

func object(t tenant.EventType, required, properties string) []byte {
	return fmt.Appendf(nil, `{"$schema":%q,"title":%q,"type":"object","required":[%s],"properties":{%s}}`, dialect, t.Type, required, properties)
}

// embedded is t's schema as it can stand within another: with an id, since its references are relative to one.
func embedded(t tenant.EventType) []byte {
	var has struct {
		ID *string `json:"$id"`
	}
	schema := bytes.TrimSpace(t.Schema)
	switch {
	case len(schema) == 0:
		return []byte("true")
	case schema[0] != '{', string(schema) == "{}", json.Unmarshal(schema, &has) != nil, has.ID != nil:
		return schema
	}
	return append(fmt.Appendf(nil, `{"$id":"urn:event-type:%s",`, t.Type), schema[1:]...)
}
