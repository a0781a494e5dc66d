package render

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/client-go/rest"
)

// cluster answers as an API server with these Secrets in the release's namespace, to somebody who may read nothing else.
func cluster(t *testing.T, secrets map[string]map[string]string) renderer {
	t.Helper()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1", func(w http.ResponseWriter, _ *http.Request) {
		kind := func(name, kind string, namespaced bool) map[string]any {
			return map[string]any{"name": name, "kind": kind, "namespaced": namespaced, "verbs": []string{"get", "list"}}
		}
		answer(w, map[string]any{"kind": "APIResourceList", "groupVersion": "v1", "resources": []any{
			kind("secrets", "Secret", true), kind("namespaces", "Namespace", false),
		}})
	})
	mux.HandleFunc("GET /api/v1/namespaces/webhooks/secrets", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"kind": "SecretList", "apiVersion": "v1", "metadata": map[string]any{}, "items": []any{}})
	})
	mux.HandleFunc("GET /api/v1/namespaces/webhooks/secrets/{name}", func(w http.ResponseWriter, req *http.Request) {
		data, ok := secrets[req.PathValue("name")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer(w, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
			return
		}
		answer(w, map[string]any{"kind": "Secret", "apiVersion": "v1", "metadata": map[string]any{"name": req.PathValue("name")}, "data": data})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		t.Errorf("asked for %s", req.URL)
		w.WriteHeader(http.StatusForbidden)
		answer(w, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return func(c *chart.Chart, values chartutil.Values) (map[string]string, error) {
		return engine.RenderWithClient(c, values, &rest.Config{Host: server.URL})
	}
}

// What an upgrade would make anew, nobody could read any more.
func TestKeysAreKept(t *testing.T) {
	kept := map[string]map[string]string{
		"acme-doorstep-bootstrap-key": {"bootstrap-key": base64.StdEncoding.EncodeToString([]byte("dsk_of_the_first_install"))},
		"acme-doorstep-sealing-keys":  {"sealing-keys": base64.StdEncoding.EncodeToString([]byte("k20260102:c2VhbGVk"))},
	}
	got, _, err := renderBy(t, cluster(t, kept), nil)
	if err != nil {
		t.Fatal(err)
	}
	for secret, data := range kept {
		for key, value := range data {
			if !strings.Contains(got, "  "+key+": "+value+"\n") {
				t.Errorf("%s of %s was not kept", key, secret)
			}
		}
	}
	first, _, err := renderBy(t, cluster(t, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if keys := generated.FindAllString(first, -1); len(keys) != 2 {
		t.Errorf("%d keys at a first install, want 2", len(keys))
	}
}

// A cluster without the Prometheus operator would refuse the release for its kinds.
func TestClusterDecidesWhatIsMade(t *testing.T) {
	for name, tt := range map[string]struct {
		enabled string
		apis    []string
		want    bool
	}{
		"auto, not known":  {"auto", nil, false},
		"auto, known":      {"auto", []string{"monitoring.coreos.com/v1"}, true},
		"true, not known":  {"true", nil, true},
		"false, but known": {"false", []string{"monitoring.coreos.com/v1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			values, err := chartutil.ReadValues([]byte("metrics: {monitor: {enabled: " + tt.enabled + "}}"))
			if err != nil {
				t.Fatal(err)
			}
			got, notes, err := renderBy(t, cluster(t, nil), values, tt.apis...)
			if err != nil {
				t.Fatal(err)
			}
			if made := strings.Contains(got, "kind: ServiceMonitor"); made != tt.want {
				t.Errorf("a ServiceMonitor is made: %t, want %t", made, tt.want)
			}
			if told := strings.Contains(notes, "knows no ServiceMonitor"); told != (tt.enabled == "auto" && !tt.want) {
				t.Errorf("notes tell that it is missing: %t", told)
			}
		})
	}
}
