package console

import (
	"net/http"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Features are what a tenant may use of the product.
type Features struct {
	Webhooks bool `json:"webhooks" doc:"False: the routes of webhooks answer 403 with the code feature_disabled, and nothing new is matched. Its webhooks stay as they are, what was matched before is sent, and events are recorded"`
}

// FeaturesInput says which features a tenant has. Null and absent ones are on.
type FeaturesInput struct {
	Webhooks *bool `json:"webhooks,omitempty" doc:"False: the routes of webhooks answer 403 with the code feature_disabled, and nothing new is matched. Default true"`
}

func featuresView(t tenant.Tenant) Features {
	return Features{Webhooks: t.Has(tenant.FeatureWebhooks)}
}

func featuresInput(said map[string]bool) *FeaturesInput {
	in := &FeaturesInput{}
	if on, ok := said[tenant.FeatureWebhooks]; ok {
		in.Webhooks = &on
	}
	return in
}

func (in *FeaturesInput) features() map[string]bool {
	if in == nil || in.Webhooks == nil {
		return nil
	}
	return map[string]bool{tenant.FeatureWebhooks: *in.Webhooks}
}

// codeFeatureDisabled is the code of the problem that a tenant does not have a feature.
const codeFeatureDisabled = "feature_disabled"

// needsWebhooks reports whether a route belongs to the feature of webhooks: all that shows or changes them, and what
// makes them be sent to. What became of events can be read without it.
func (r route) needsWebhooks() bool {
	first, _, _ := strings.Cut(r.path, "/")
	return first == "webhooks" || r.sends
}

// checkWebhooks errs with a 403 if a tenant does not have the feature of webhooks, as the log's settings say.
func (s *Service) checkWebhooks(of string) error {
	if s.settings.Tenant(of).Has(tenant.FeatureWebhooks) {
		return nil
	}
	p := newProblem(http.StatusForbidden, "the feature webhooks is off for the tenant "+of+"; whoever runs Doorstep can turn it on")
	p.Code = codeFeatureDisabled
	return p
}
