package catalogue_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func TestCheckWebhook(t *testing.T) {
	_, planmill, _ := load(t, "planmill").Apply(tenant.Tenant{ID: "acme"}, nil)
	_, vplan, _ := load(t, "vplan").Apply(tenant.Tenant{ID: "acme"}, nil)
	for i := range vplan {
		vplan[i].Deprecated = vplan[i].Type == "card.updated.merged"
	}
	by := map[string]string{"eventUser": "545"}
	hook := func(filters map[string]string, types ...string) webhook.Webhook {
		return webhook.Webhook{EventTypes: types, Filters: filters}
	}
	const closed, open = false, true
	for name, tt := range map[string]struct {
		open    bool
		types   []tenant.EventType
		was, w  webhook.Webhook
		faults  string
		notices string
	}{
		"types of the catalogue":        {closed, vplan, hook(nil), hook(nil, "card.updated", "card.label.*", "*"), "", ""},
		"a type that is not":            {closed, vplan, hook(nil), hook(nil, "card.moved", "card.updated"), "event_types: card.moved is not in the catalogue, which takes no others; GET /api/v1/event-types lists them", ""},
		"a prefix of nothing":           {closed, vplan, hook(nil), hook(nil, "board.*"), "event_types: board.* stands for no type of the catalogue, which takes no others; GET /api/v1/event-types lists them", ""},
		"half a name":                   {closed, vplan, hook(nil), hook(nil, "card.label"), "event_types: card.label is not in the catalogue, which takes no others; GET /api/v1/event-types lists them", ""},
		"any of an open one":            {open, vplan, hook(nil), hook(by, "card.moved", "board.*"), "", ""},
		"all of an empty one":           {closed, nil, hook(nil), hook(by, "*"), "", ""},
		"a type that went":              {closed, vplan, hook(nil, "card.moved"), hook(nil, "card.moved", "card.updated"), "", ""},
		"what is no pattern":            {closed, vplan, hook(nil), hook(nil, "Card", "card*", ""), "", ""},
		"a deprecated type":             {closed, vplan, hook(nil), hook(nil, "card.updated.merged"), "", "card.updated.merged is deprecated."},
		"deprecated, as it was":         {closed, vplan, hook(nil, "card.updated.merged"), hook(nil, "card.updated.merged"), "", ""},
		"any filter without attributes": {closed, vplan, hook(nil), hook(by, "card.updated"), "", ""},
		"a filter by an attribute":      {closed, planmill, hook(nil), hook(by, "request.update"), "", ""},
		"a filter by another's":         {closed, planmill, hook(nil), hook(by, "project.add"), "filters[eventUser]: is an attribute of none of the webhook's event types; these have it: request.update, timereport.update", ""},
		"a filter by nobody's":          {closed, planmill, hook(nil), hook(map[string]string{"colour": "x"}, "request.update"), "filters[colour]: is an attribute of no type of the catalogue", ""},
		"a filter by one's":             {closed, planmill, hook(nil), hook(by, "request.*"), "", "Events of request.add, request.delete have no attribute eventUser, so the filter lets none of them through."},
		"a filter on all":               {closed, planmill, hook(nil), hook(by, "*"), "", "Events of absence.add, absence.delete, absence.readyforacceptance, absence.update, account.add and 22 more have no attribute eventUser, so the filter lets none of them through."},
		"a filter that was":             {closed, planmill, hook(by, "project.add"), hook(by, "project.add"), "", ""},
		"a filter, and unknown types":   {open, planmill, hook(nil), hook(by, "project.add", "mine.added"), "", ""},
		"a filter, all types known":     {open, planmill, hook(nil), hook(by, "project.add"), "filters[eventUser]: is an attribute of none of the webhook's event types; these have it: request.update, timereport.update", ""},
	} {
		t.Run(name, func(t *testing.T) {
			faults, notices := catalogue.CheckWebhook(tt.open, tt.types, tt.was, tt.w)
			if d := cmp.Diff(tt.faults, faults.Error()) + cmp.Diff(tt.notices, strings.Join(notices, " ")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	if d := cmp.Diff([]string{"a.b", "board.*"}, catalogue.Missing(vplan, hook(nil, "card.*", "a.b", "*", "board.*", "card.updated"))); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
}

// A catalogue that is exported as a profile and applied to another tenant is the same there.
func TestProfileOf(t *testing.T) {
	for _, name := range catalogue.Shipped() {
		was, types, _ := load(t, name).Apply(tenant.Tenant{ID: "acme", Policy: tenant.Policy{KeepAnswers: new(false)}}, nil)
		document, err := catalogue.ProfileOf("ours", was, types).YAML()
		if err != nil {
			t.Fatal(err)
		}
		p, err := catalogue.Read(document)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		now, got, _ := p.Apply(tenant.Tenant{ID: "acme"}, nil)
		was.Profile = "ours"
		for i := range types {
			types[i].Profile = "ours"
		}
		if d := cmp.Diff(was, now) + cmp.Diff(types, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
