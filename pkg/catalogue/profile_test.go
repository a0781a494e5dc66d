package catalogue_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func load(t *testing.T, name string) catalogue.Profile {
	t.Helper()
	p, err := catalogue.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// typesOf are the types of a kind as vPlan's and PlanMill's documentation list them.
func typesOf() map[string]map[string]string {
	return map[string]map[string]string{
		"vplan": {
			catalogue.KindNormal: `card.created card.updated card.deleted card.updated.merged collection.created collection.updated collection.deleted
				attachment.created attachment.updated attachment.deleted comment.created comment.updated comment.deleted
				time_tracking.created time_tracking.updated time_tracking.deleted`,
			catalogue.KindNested: `card.label.attached card.label.detached card.resource.attached card.resource.detached
				collection.label.attached collection.label.detached collection.follower.attached collection.follower.detached`,
			catalogue.KindNestedPivot: `card.activity.attached card.activity.detached card.activity.updated collection.activity.attached
				collection.activity.detached collection.activity.updated collection.checklist.created collection.checklist.updated
				collection.checklist.deleted collection.checklist.item.attached collection.checklist.item.detached collection.checklist.item.updated`,
		},
		"planmill": {
			catalogue.KindNormal: `project.add project.update project.delete request.add request.update request.delete account.add account.update
				account.delete absence.add absence.update absence.delete absence.readyforacceptance timereport.add
				timereport.readyforacceptance timereport.update timereport.delete task.add task.update task.delete team.add team.update
				team.delete user.add user.update user.delete assignment.add assignment.update assignment.delete`,
		},
		"plandocket": {},
	}
}

func TestShippedProfilesHoldEveryType(t *testing.T) {
	counts := map[string]map[string]int{"vplan": {"normal": 16, "nested": 8, "nested_pivot": 12}, "planmill": {"normal": 29}, "plandocket": {}}
	for _, name := range catalogue.Shipped() {
		p := load(t, name)
		if p.Name != name || p.Description == "" {
			t.Errorf("%s is %q: %q", name, p.Name, p.Description)
		}
		got, n := map[string][]string{}, map[string]int{}
		for _, e := range p.EventTypes {
			got[e.Kind] = append(got[e.Kind], e.Type)
			n[e.Kind]++
			if e.Group == "" || e.Description == "" || len(e.Schema) == 0 || len(e.Example) == 0 {
				t.Errorf("%s: %s lacks something: %+v", name, e.Type, e)
			}
			if f := catalogue.Check(e.Type+".", e.EventType("acme", name)); len(f) > 0 {
				t.Errorf("%s: %v", name, f)
			}
			// An example that fits by chance would fit another type's schema too.
			if schema := compile(t, string(e.Schema)); len(schema.Check("data", []byte(`{"id":7}`))) == 0 {
				t.Errorf("%s: the schema of %s lets through what is nothing", name, e.Type)
			}
		}
		want := map[string][]string{}
		for kind, types := range typesOf()[name] {
			want[kind] = strings.Fields(types)
			slices.Sort(want[kind])
			slices.Sort(got[kind])
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if d := cmp.Diff(counts[name], n); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		own, _, _ := p.Apply(tenant.Tenant{ID: "acme"}, nil)
		if f := own.Check(); len(f) > 0 {
			t.Errorf("%s makes a tenant that cannot be: %v", name, f)
		}
	}
}

func TestShippedProfilesSayWhatTheirProductsDo(t *testing.T) {
	timeout := 30 * time.Second
	for name, want := range map[string]tenant.Tenant{
		"vplan": {
			ID: "acme", Profile: "vplan",
			Policy: tenant.Policy{
				WarnAfter: new(250), DisableAfter: new(500), RetryCount: new(3), Timeout: new(10 * time.Second),
				Reactivation: tenant.ReactivationConsole,
			},
			Payload: webhook.Payload{Format: webhook.FormatRaw, Stringify: new(false)},
		},
		"plandocket": {
			ID: "acme", Profile: "plandocket", Open: true, Features: map[string]bool{"webhooks": true},
			Policy:  tenant.Policy{RetryCount: new(3), Timeout: &timeout},
			Payload: webhook.Payload{Format: webhook.FormatRaw, Stringify: new(false)},
		},
		"planmill": {
			ID: "acme", Profile: "planmill",
			Policy:  tenant.Policy{MaxWebhooksPerEvent: new(10)},
			Payload: webhook.Payload{Format: webhook.FormatHook, Stringify: new(true)},
		},
	} {
		got, _, _ := load(t, name).Apply(tenant.Tenant{ID: "acme"}, nil)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	for _, e := range load(t, "planmill").EventTypes {
		var want []string
		if e.Type == "request.update" || e.Type == "timereport.update" {
			want = []string{"eventUser", "eventProject"}
		}
		if d := cmp.Diff(want, e.Attributes); d != "" {
			t.Errorf("attributes of %s (-want +got):\n%s", e.Type, d)
		}
		if schema := compile(t, string(e.Schema)); len(schema.Check("data", []byte("null"))) == 0 != strings.HasSuffix(e.Type, ".delete") {
			t.Errorf("%s: only deletions may have no payload", e.Type)
		}
	}
}

func entry(name, schema string) catalogue.Entry {
	return catalogue.Entry{Type: name, Schema: []byte(schema)}
}

func TestApply(t *testing.T) {
	first := catalogue.Profile{
		Name: "first", Policy: catalogue.ProfilePolicy{RetryCount: new(5), WarnAfter: new(9)}, Payload: catalogue.ProfilePayload{Format: "thin"},
		EventTypes: []catalogue.Entry{entry("a.only", `{}`), entry("both", `{ "type": "object" }`), entry("mine", `{}`)},
	}
	second := catalogue.Profile{
		Name: "second", Open: true, Policy: catalogue.ProfilePolicy{RetryCount: new(1)}, Features: map[string]bool{"webhooks": true},
		EventTypes: []catalogue.Entry{entry("both", `{"type":"array"}`), entry("b.only", `{}`)},
	}
	was := tenant.Tenant{
		ID: "acme", Name: "Acme", Open: true, Policy: tenant.Policy{MaxWebhooksPerEvent: new(7), KeepAnswers: new(false)},
		Payload: webhook.Payload{Exclude: &[]string{"email"}}, Features: map[string]bool{"webhooks": false},
	}
	mine := tenant.EventType{Tenant: "acme", Type: "mine", Kind: catalogue.KindNested, Description: "ours"}

	now, types, effect := first.Apply(was, []tenant.EventType{mine})
	want := was
	want.Profile, want.Open, want.Payload.Format = "first", false, webhook.FormatThin
	want.Policy = tenant.Policy{RetryCount: new(5), WarnAfter: new(9), KeepAnswers: new(false)}
	if d := cmp.Diff(want, now); d != "" {
		t.Errorf("tenant (-want +got):\n%s", d)
	}
	if d := cmp.Diff(catalogue.Effect{Added: []string{"a.only", "both"}, Kept: []string{"mine"}}, effect); d != "" {
		t.Errorf("effect (-want +got):\n%s", d)
	}
	brought := func(name, schema, profile string) tenant.EventType {
		return tenant.EventType{Tenant: "acme", Type: name, Kind: catalogue.KindNormal, Schema: []byte(schema), Profile: profile}
	}
	if d := cmp.Diff([]tenant.EventType{brought("a.only", `{}`, "first"), brought("both", `{"type":"object"}`, "first"), mine}, types); d != "" {
		t.Errorf("types (-want +got):\n%s", d)
	}

	again, same, effect := first.Apply(now, types)
	if d := cmp.Diff(now, again) + cmp.Diff(types, same) + cmp.Diff(catalogue.Effect{Kept: []string{"mine"}}, effect); d != "" {
		t.Errorf("applied again:\n%s", d)
	}

	now, types, effect = second.Apply(now, types)
	want.Profile, want.Open, want.Payload.Format = "second", true, ""
	want.Policy = tenant.Policy{RetryCount: new(1), KeepAnswers: new(false)}
	if d := cmp.Diff(want, now); d != "" {
		t.Errorf("second tenant (-want +got):\n%s", d)
	}
	if d := cmp.Diff(catalogue.Effect{Added: []string{"b.only"}, Changed: []string{"both"}, Removed: []string{"a.only"}}, effect); d != "" {
		t.Errorf("second effect (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]tenant.EventType{brought("b.only", `{}`, "second"), brought("both", `{"type":"array"}`, "second"), mine}, types); d != "" {
		t.Errorf("second types (-want +got):\n%s", d)
	}
}

func TestCheckOwnProfile(t *testing.T) {
	for document, want := range map[string]string{
		"profile: ours\nevent_types: [{type: a.b}]":                                        "",
		"profile: vplan\nevent_types: []":                                                  "profile: vplan comes with Doorstep; apply it by its name alone, or give yours another",
		"profile: Ours\nnames: {a: b}\nevent_types: []":                                    "profile: must begin with a-z or 0-9 and hold a-z, 0-9, '-' and '_' only, at most 64 characters; names: is of the profiles that come with Doorstep only",
		"profile: a\nevent_types: [{type: a}, {type: a, kind: odd, schema: {type: text}}]": "event_types[1].kind: must be normal, nested, nested_pivot; event_types[1].schema: is not a JSON Schema: at type: fits none of the forms that it may have (anyOf, oneOf); event_types[1].type: a stands twice",
	} {
		p, err := catalogue.Read([]byte(document))
		if err != nil {
			t.Errorf("%q: %v", document, err)
		} else if got := p.CheckOwn().Error(); got != want {
			t.Errorf("%q:\n%s, want\n%s", document, got, want)
		}
	}
	many := catalogue.Types{EventTypes: make([]catalogue.Entry, catalogue.MaxTypes+1)}
	if got := many.Check().Error(); got != "event_types: has 1001 entries, the limit is 1000" {
		t.Error(got)
	}
	many.EventTypes = many.EventTypes[1:]
	if got := many.Check(); len(got) > 110 || !strings.Contains(got.Error(), "not checked yet") {
		t.Errorf("%d faults", len(got))
	}
	for document, want := range map[string]string{
		"profile: a\nevent_type: []": "event_type",
		"profile: [a]":               "profile",
		"- a":                        "profile",
	} {
		if _, err := catalogue.Read([]byte(document)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", document, err)
		}
	}
}
