package console_test

import "net/url"

// call is a request of the table.
type call struct {
	method, path, body string
	status             int     // while everything is there
	needs              stores  // that were there when the console started
	first              stores  // beside them: that it waits for at a start
	goesOn             bool    // its answer does not end, or tells in its last line what went wrong
	of                 string  // the tenant that is named; empty: none
	who                *person // who asks for a page; nil: a program that calls the API
}

// operations are all of the API's, by operation id, and what each needs.
func operations(x things) map[string]call {
	webhook := func(id, more string) string { return "/api/v1/webhooks/" + id + more }
	return map[string]call{
		"list-webhooks":  {method: "GET", path: "/api/v1/webhooks", status: 200, needs: theSQL},
		"create-webhook": {method: "POST", path: "/api/v1/webhooks", body: `{"name":"` + x.newName + `","url":"http://127.0.0.1:9999/","event_types":["a"]}`, status: 201, needs: theSQL | aWrite},
		"get-webhook":    {method: "GET", path: webhook(x.read, ""), status: 200, needs: theSQL},
		"patch-webhook":  {method: "PATCH", path: webhook(x.patch, ""), body: `{"name":"other"}`, status: 200, needs: theSQL | aWrite},
		"delete-webhook": {method: "DELETE", path: webhook(x.remove, ""), status: 204, needs: theSQL | aWrite},

		"rotate-webhook-secret": {method: "POST", path: webhook(x.rotate, "/rotate-secret"), status: 200, needs: theSQL | aWrite},
		"pause-webhook":         {method: "POST", path: webhook(x.pause, "/pause"), status: 200, needs: theSQL | aWrite},
		"resume-webhook":        {method: "POST", path: webhook(x.resume, "/resume"), status: 200, needs: theSQL | aWrite, first: theHistory | theLog},
		"release-deliveries":    {method: "POST", path: webhook(x.release, "/release"), status: 202, needs: theSQL | aWrite, first: theHistory | theLog},
		"discard-deliveries":    {method: "POST", path: webhook(x.discard, "/discard"), status: 202, needs: theSQL | aWrite | theLog, first: theHistory},
		"recover-deliveries":    {method: "POST", path: webhook(x.recover, "/recover"), body: `{"since":"2026-01-02T03:04:05Z"}`, status: 202, needs: theSQL | aWrite | theLog, first: theHistory},
		"patch-job":             {method: "PATCH", path: "/api/v1/jobs/" + x.resting, body: `{"status":"paused"}`, status: 200, needs: theSQL | aWrite},
		"cancel-job":            {method: "DELETE", path: "/api/v1/jobs/" + x.cancelled, status: 204, needs: theSQL | aWrite},
		"list-jobs":             {method: "GET", path: "/api/v1/jobs", status: 200, needs: theSQL},
		"get-job":               {method: "GET", path: "/api/v1/jobs/" + x.job, status: 200, needs: theSQL},

		"test-webhook": {method: "POST", path: webhook(x.test, "/test"), body: `{"wait_seconds":0}`, status: 202, needs: theSQL | aWrite | theLog},
		// No event is of that type, so the log is not asked for its data.
		"try-webhook":       {method: "POST", path: webhook("try", ""), body: `{"event_types":["no.such"]}`, status: 200, needs: theSQL | theHistory},
		"try-webhook-by-id": {method: "POST", path: webhook(x.read, "/try"), body: `{"event_types":["no.such"]}`, status: 200, needs: theSQL | theHistory},

		"publish-events": {method: "POST", path: "/api/v1/events", body: `{"type":"a"}`, status: 202, needs: theLog},
		"list-events":    {method: "GET", path: "/api/v1/events", status: 200, needs: theHistory},
		"get-event":      {method: "GET", path: "/api/v1/events/" + x.event, status: 200, needs: theHistory | theLog},

		"list-deliveries":      {method: "GET", path: "/api/v1/deliveries", status: 200, needs: theHistory},
		"get-delivery":         {method: "GET", path: "/api/v1/deliveries/" + x.delivery, status: 200, needs: theHistory},
		"get-delivery-payload": {method: "GET", path: "/api/v1/deliveries/" + x.delivery + "/payload", status: 200, needs: theHistory | theLog},
		"resend-delivery":      {method: "POST", path: "/api/v1/deliveries/" + x.delivery + "/resend", status: 202, needs: theSQL | aWrite | theHistory | theLog},
		"explain":              {method: "GET", path: "/api/v1/explain?event=" + x.event + "&webhook=" + x.read, status: 200, needs: theSQL | theHistory | theLog},
		"tail-attempts":        {method: "GET", path: "/api/v1/attempts/tail", status: 200, needs: theLog, goesOn: true},
		"audit":                {method: "GET", path: "/api/v1/audit", status: 200, needs: theLog, first: theHistory, goesOn: true},

		"list-mails": {method: "GET", path: "/api/v1/mails", status: 200, needs: theHistory},
		"get-mail":   {method: "GET", path: "/api/v1/mails/" + x.mail, status: 200, needs: theHistory},

		"me":             {method: "GET", path: "/api/v1/me", status: 200},
		"list-api-keys":  {method: "GET", path: "/api/v1/api-keys", status: 200, needs: theSQL},
		"create-api-key": {method: "POST", path: "/api/v1/api-keys", body: `{"name":"` + x.newName + `","scopes":["events"]}`, status: 201, needs: theSQL | aWrite},
		"get-api-key":    {method: "GET", path: "/api/v1/api-keys/" + x.key, status: 200, needs: theSQL},
		"patch-api-key":  {method: "PATCH", path: "/api/v1/api-keys/" + x.key, body: `{"name":"other"}`, status: 200, needs: theSQL | aWrite},
		"list-audit-log": {method: "GET", path: "/api/v1/audit-log", status: 200, needs: theSQL},
		"delete-api-key": {method: "DELETE", path: "/api/v1/api-keys/" + x.leavingKey, status: 204, needs: theSQL | aWrite},

		"list-administrators":  {method: "GET", path: "/api/v1/administrators", status: 200, needs: theSQL},
		"create-administrator": {method: "POST", path: "/api/v1/administrators", body: `{"email":"new-` + x.newName + `@example.com"}`, status: 201, needs: theSQL | aWrite},
		"get-administrator":    {method: "GET", path: "/api/v1/administrators/" + x.administrator, status: 200, needs: theSQL},
		"patch-administrator":  {method: "PATCH", path: "/api/v1/administrators/" + x.administrator, body: `{"name":"other"}`, status: 200, needs: theSQL | aWrite},
		"delete-administrator": {method: "DELETE", path: "/api/v1/administrators/" + x.leaving, status: 204, needs: theSQL | aWrite},

		"list-event-types":      {method: "GET", path: "/api/v1/event-types", status: 200, needs: theSQL},
		"list-webhook-events":   {method: "GET", path: "/api/v1/webhooks/events", status: 200, needs: theSQL},
		"create-event-type":     {method: "POST", path: "/api/v1/event-types", body: `{"type":"` + typeName(x.newName) + `"}`, status: 201, needs: theSQL | aWrite},
		"import-event-types":    {method: "PUT", path: "/api/v1/event-types", body: `{"event_types":[{"type":"` + typeName(x.newName) + `.b"}]}`, status: 200, needs: theSQL | aWrite},
		"get-event-type":        {method: "GET", path: "/api/v1/event-types/" + x.eventType, status: 200, needs: theSQL},
		"put-event-type":        {method: "PUT", path: "/api/v1/event-types/" + typeName(x.newName) + ".c", body: `{}`, status: 201, needs: theSQL | aWrite},
		"delete-event-type":     {method: "DELETE", path: "/api/v1/event-types/" + x.eventTypeGoing, status: 204, needs: theSQL | aWrite},
		"get-event-type-schema": {method: "GET", path: "/api/v1/event-types/" + x.eventType + "/schema", status: 200, needs: theSQL},
		"list-profiles":         {method: "GET", path: "/api/v1/profiles", status: 200, needs: theSQL},
		"get-profile":           {method: "GET", path: "/api/v1/profiles/vplan", status: 200},
		"apply-profile":         {method: "POST", path: "/api/v1/profiles", body: `{"profile":"away","open":true,"description":"` + x.newName + `","event_types":[]}`, status: 200, needs: theSQL | aWrite},
		"patch-profile":         {method: "PATCH", of: x.patching, path: "/api/v1/profiles/away", body: `{"policy":{"retry_count":2}}`, status: 200, needs: theSQL | aWrite},
		"delete-profile":        {method: "DELETE", of: x.returning, path: "/api/v1/profiles/away", status: 204, needs: theSQL | aWrite},

		"list-tenants":  {method: "GET", path: "/api/v1/tenants", status: 200, needs: theSQL},
		"create-tenant": {method: "POST", path: "/api/v1/tenants", body: `{"id":"new-` + x.newName + `"}`, status: 201, needs: theSQL | aWrite},
		"get-tenant":    {method: "GET", path: "/api/v1/tenants/" + x.tenant, status: 200, needs: theSQL},
		"patch-tenant":  {method: "PATCH", path: "/api/v1/tenants/" + x.tenant, body: `{"name":"other"}`, status: 200, needs: theSQL | aWrite},
		"delete-tenant": {method: "DELETE", path: "/api/v1/tenants/" + x.ending, status: 204, needs: theSQL | aWrite},
	}
}

// pages are the web console's, by pattern, for someone who has signed in.
func pages(w *world, x things) map[string]call {
	stranger, someone, leaver := w.person(), w.visitor(), w.visitor()
	act := func(who *person, path string, fields ...string) call {
		form := url.Values{"token": {who.token}}
		for i := 0; i < len(fields); i += 2 {
			form.Set(fields[i], fields[i+1])
		}
		return call{method: "POST", path: path, body: form.Encode(), status: 303, needs: theSQL | aWrite, who: who}
	}
	press := func(id, action string, fields ...string) call {
		return act(someone, "/console/webhooks/"+id+"/"+action, fields...)
	}
	more := func(c call, needs, first stores) call {
		c.needs, c.first = c.needs|needs, first
		return c
	}
	return map[string]call{
		"GET /console/{$}":           {method: "GET", path: "/console/", status: 303, who: stranger},
		"GET /console/style.css":     {method: "GET", path: "/console/style.css", status: 200, who: stranger},
		"GET /console/icon.svg":      {method: "GET", path: "/console/icon.svg", status: 200, who: stranger},
		"GET /console/sign-in":       {method: "GET", path: "/console/sign-in", status: 200, who: stranger},
		"GET /console/webhooks":      {method: "GET", path: "/console/webhooks", status: 200, needs: theSQL, who: someone},
		"GET /console/webhooks/{id}": {method: "GET", path: "/console/webhooks/" + x.read, status: 200, needs: theSQL, who: someone},

		"POST /console/sign-in":  act(stranger, "/console/sign-in", "key", bootKey),
		"POST /console/sign-out": act(leaver, "/console/sign-out"),

		// The webhook is active and not disabled: nothing is changed, and nothing written.
		"POST /console/webhooks/{id}/activate":   {method: "POST", path: "/console/webhooks/" + x.read + "/activate", body: press(x.read, "activate").body, status: 303, needs: theSQL, first: theLog, who: someone},
		"POST /console/webhooks/{id}/deactivate": press(x.webDeactivate, "deactivate"),
		"POST /console/webhooks/{id}/pause":      press(x.webPause, "pause"),
		"POST /console/webhooks/{id}/resume":     more(press(x.webResume, "resume"), nothing, theHistory|theLog),
		"POST /console/webhooks/{id}/release":    more(press(x.webRelease, "release"), nothing, theHistory|theLog),
		"POST /console/webhooks/{id}/test":       {method: "POST", path: "/console/webhooks/" + x.webTest + "/test", body: press(x.webTest, "test", "wait_seconds", "0").body, status: 200, needs: theSQL | aWrite | theLog, who: someone},
		"POST /console/webhooks/{id}/recover":    more(press(x.recover, "recover", "since", "2026-01-02T03:04"), theLog, theHistory),
		"POST /console/webhooks/{id}/discard":    more(press(x.webDiscard, "discard", "confirm", "yes"), theLog, theHistory),
	}
}
