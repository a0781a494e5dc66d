package cli_test

import (
	"strings"
	"testing"
)

// TestListsAreAsked: every list command passes on the order and the filters.
func TestListsAreAsked(t *testing.T) {
	calls := startAPI(t, nil)
	for command, want := range map[string]string{
		"webhooks list --sort=-created_at,name":                            "GET /api/v1/webhooks?limit=500&sort=-created_at%2Cname",
		"webhooks list --filter name[contains]=a=b,c --filter active=true": "GET /api/v1/webhooks?filter%5Bactive%5D=true&filter%5Bname%5D%5Bcontains%5D=a%3Db%2Cc&limit=500",
		"administrators list --sort email":                                 "GET /api/v1/administrators?limit=500&sort=email",
		"keys list --platform --filter scopes=events":                      "GET /api/v1/api-keys?filter%5Bscopes%5D=events&limit=500&platform=true",
		"jobs --filter status[in]=done,failed --sort=-updated_at":          "GET /api/v1/jobs?filter%5Bstatus%5D%5Bin%5D=done%2Cfailed&limit=500&sort=-updated_at",
		"deliveries list --webhook w1 --filter created_at[gte]=2026-03-04T00:00:00Z --sort created_at": "GET /api/v1/deliveries?" +
			"filter%5Bcreated_at%5D%5Bgte%5D=2026-03-04T00%3A00%3A00Z&filter%5Bwebhook_id%5D=w1&limit=50&sort=created_at",
		"mails --filter webhook_id=w1 --sort mailed_at --limit 3": "GET /api/v1/mails?filter%5Bwebhook_id%5D=w1&limit=3&sort=mailed_at",
	} {
		*calls = nil
		run("", strings.Fields(command)...)
		if len(*calls) != 1 || (*calls)[0].Line != want {
			t.Errorf("%s: %v, want %s", command, *calls, want)
		}
	}
	*calls = nil
	for command, want := range map[string]string{
		"webhooks list --filter name":                         `--filter "name": want FIELD=VALUE`,
		"webhooks list --filter =a":                           `--filter "=a": want FIELD=VALUE`,
		"webhooks list --filter name[eq=a":                    `--filter "name[eq=a": want FIELD=VALUE`,
		"webhooks list --filter name]&x=a":                    `want FIELD=VALUE`,
		"webhooks list --filter name=a --filter name=b":       "filter[name] is given twice",
		"deliveries list --webhook w1 --filter webhook_id=w2": "filter[webhook_id] is given twice",
		"deliveries list --limit 0":                           "--limit: must be at least 1",
		"mails m1 --sort mailed_at":                           "give either the id of a mail or what to list",
		"jobs list j1 --filter status=done":                   "unexpected argument j1",
	} {
		if code, _, errs := run("", strings.Fields(command)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s, want %s", command, code, errs, want)
		}
	}
	if len(*calls) > 0 {
		t.Errorf("the API was asked all the same: %v", *calls)
	}
}
