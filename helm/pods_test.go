package helm

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// podPatience bounds the wait for a pod to be ready and for an event to arrive.
const podPatience = 3 * time.Minute

// The way of an event through pods as the chart renders them: each pod of the golden is a container with all that its
// spec says, but for what only a cluster can do (scheduling, NetworkPolicies, restarts). Needs root and a container engine; `make
// chart-pods` makes both engine and images where there are none.
func TestPodsRun(t *testing.T) {
	image := os.Getenv("TEST_CHART_IMAGE")
	if image == "" {
		t.Skip("TEST_CHART_IMAGE is not set; make chart-pods runs this")
	}
	for _, tt := range []struct{ golden, http, grpc string }{
		{"embedded", "http://acme-doorstep-up:8080", "http://acme-doorstep-up:8081"},
		{"pods", "https://acme-doorstep-console:8080", "https://acme-doorstep-ingest:8081"},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			c := newNode(t, image, tt.golden)
			if tt.golden == "pods" {
				c.stores()
			}
			c.jobs()
			var pods []*running
			for _, o := range c.all {
				if o.Kind == "Deployment" || o.Kind == "StatefulSet" {
					pods = append(pods, c.replicas(o)...)
				}
			}
			for _, p := range pods {
				c.awaitReady(p)
			}
			c.helmTest()
			c.deliver(tt.http, tt.grpc)
			for _, p := range pods {
				p.stop(t)
			}
		})
	}
}

// node is a network of containers, with what the cluster's API would know.
type node struct {
	*testing.T
	image, network, dir string
	all                 []object
	configs             map[string]map[string]string
	secrets             map[string]map[string]string
}

const (
	podKey     = "dsk_of_the_pods_0123456789abcdefghij"
	webhookKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func newNode(t *testing.T, image, golden string) *node {
	t.Helper()
	c := &node{
		T: t, image: image, network: fmt.Sprintf("doorstep-pods-%d-%s", os.Getpid(), golden), dir: t.TempDir(),
		all: objects(t, goldens(t)[golden]), configs: make(map[string]map[string]string),
	}
	certificate, key := certificateOf(t, "acme-doorstep-console", "acme-doorstep-ingest")
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing)
	c.secrets = map[string]map[string]string{ // those of the chart have other keys at each install
		"acme-doorstep-bootstrap-key": {"bootstrap-key": podKey},
		"acme-doorstep-sealing-keys":  {"sealing-keys": "k20260102:" + base64.StdEncoding.EncodeToString(sealing) + "\n"},
		"redis":                       {"password": "of-redis"},
		"postgres":                    {"password": "of-postgres"},
		"doorstep-tls":                {"tls.crt": certificate, "tls.key": key},
	}
	for _, o := range c.all {
		if o.Kind == "ConfigMap" {
			c.configs[o.Metadata.Name] = o.Data
		}
	}
	c.write("client/ca.crt", certificate, 0o644)
	c.write("client/webhook.json", `{"secret":"`+webhookKey+`"}`, 0o644)
	c.docker("network", "create", c.network)
	t.Cleanup(func() { c.docker("network", "rm", c.network) })
	return c
}

// certificateOf is a certificate of its own authority for names, and its key, PEM.
func certificateOf(t *testing.T, names ...string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	raw, again := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err, again); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// write makes a file below the test's directory, for the group of pods; directories as a kubelet makes a volume's.
func (c *node) write(name, content string, mode os.FileMode) string {
	c.Helper()
	path := filepath.Join(c.dir, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode), os.Chown(path, 0, 65532))
	if err != nil {
		c.Fatal(err)
	}
	return path
}

func docker(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), podPatience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// docker runs a command of the engine, which must succeed.
func (c *node) docker(args ...string) string {
	c.Helper()
	out, err := docker(args...)
	if err != nil {
		c.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// await waits until something holds.
func (c *node) await(what string, holds func() error) {
	c.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(podPatience); ; <-tick.C {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			c.Fatalf("%s: %v", what, err)
		}
	}
}

// background starts a container that is removed when the test ends; its log is shown if the test has failed.
func (c *node) background(name string, args ...string) string {
	c.Helper()
	container := c.network + "-" + name
	c.docker(append([]string{"run", "--detach", "--name", container, "--network", c.network}, args...)...)
	c.Cleanup(func() {
		if c.Failed() {
			out, _ := docker("logs", "--tail", "40", container)
			c.Logf("%s:\n%s", name, out)
		}
		c.docker("rm", "--force", "--volumes", container)
	})
	return container
}

// stores are what the chart does not bring, by the names that its values have.
func (c *node) stores() {
	c.Helper()
	image := func(variable, published string) string {
		if named := os.Getenv(variable); named != "" {
			return named
		}
		return published
	}
	kafka := []string{"--network-alias", "kafka"}
	for _, e := range []string{
		"NODE_ID=1", "PROCESS_ROLES=broker,controller", "LISTENERS=CLIENTS://:9092,CONTROLLER://127.0.0.1:9093", "ADVERTISED_LISTENERS=CLIENTS://kafka:9092",
		"LISTENER_SECURITY_PROTOCOL_MAP=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT", "INTER_BROKER_LISTENER_NAME=CLIENTS", "CONTROLLER_LISTENER_NAMES=CONTROLLER",
		"CONTROLLER_QUORUM_VOTERS=1@127.0.0.1:9093", "AUTO_CREATE_TOPICS_ENABLE=false", "OFFSETS_TOPIC_REPLICATION_FACTOR=1",
		"TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1", "TRANSACTION_STATE_LOG_MIN_ISR=1", "GROUP_INITIAL_REBALANCE_DELAY_MS=0", "HEAP_OPTS=-Xms256m -Xmx512m",
	} {
		kafka = append(kafka, "--env", "KAFKA_"+e)
	}
	broker := c.background("kafka", append(kafka, image("TEST_IMAGE_KAFKA", "apache/kafka:4.4.0"))...)
	c.background("redis", "--network-alias", "redis", image("TEST_IMAGE_REDIS", "redis:7"), "redis-server", "--requirepass", "of-redis")
	postgres := c.background("postgres", "--network-alias", "postgresql", "--env", "POSTGRES_USER=doorstep", "--env", "POSTGRES_DB=doorstep",
		"--env", "POSTGRES_PASSWORD=of-postgres", image("TEST_IMAGE_POSTGRES", "postgres:15"))
	c.await("Kafka", func() error {
		_, err := docker("exec", broker, "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9092")
		return err
	})
	c.await("PostgreSQL", func() error {
		// Over TCP, where the server that only fills a new directory does not listen.
		_, err := docker("exec", postgres, "pg_isready", "-h", "127.0.0.1", "-U", "doorstep", "-d", "doorstep")
		return err
	})
}

// podSpec is what a kubelet reads of a pod, and all that the chart's pods may have: another field is an error.
type podSpec struct {
	ServiceAccountName            string `yaml:"serviceAccountName"`
	RestartPolicy                 string `yaml:"restartPolicy"`
	AutomountServiceAccountToken  *bool  `yaml:"automountServiceAccountToken"`
	EnableServiceLinks            *bool  `yaml:"enableServiceLinks"`
	TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               struct {
		RunAsUser           int               `yaml:"runAsUser"`
		RunAsGroup          int               `yaml:"runAsGroup"`
		FSGroup             int               `yaml:"fsGroup"`
		FSGroupChangePolicy string            `yaml:"fsGroupChangePolicy"`
		RunAsNonRoot        bool              `yaml:"runAsNonRoot"`
		SeccompProfile      map[string]string `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers                []containerSpec
	Volumes                   []volume
	TopologySpreadConstraints []any `yaml:"topologySpreadConstraints"`
}

type containerSpec struct {
	Name, Image     string
	ImagePullPolicy string `yaml:"imagePullPolicy"`
	Args            []string
	SecurityContext struct {
		AllowPrivilegeEscalation bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct{ Drop []string }
	} `yaml:"securityContext"`
	EnvFrom []struct {
		ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
	} `yaml:"envFrom"`
	Env []struct {
		Name, Value string
		ValueFrom   struct {
			FieldRef struct {
				FieldPath string `yaml:"fieldPath"`
			} `yaml:"fieldRef"`
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	StartupProbe   probe `yaml:"startupProbe"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	Lifecycle      struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
	Resources struct {
		Requests map[string]string
		Limits   map[string]string
	}
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet          struct{ Path, Port, Scheme string } `yaml:"httpGet"`
	PeriodSeconds    int                                 `yaml:"periodSeconds"`
	FailureThreshold int                                 `yaml:"failureThreshold"`
	TimeoutSeconds   int                                 `yaml:"timeoutSeconds"`
}

type volume struct {
	Name     string
	EmptyDir struct {
		SizeLimit string `yaml:"sizeLimit"`
	} `yaml:"emptyDir"`
	Secret struct {
		SecretName  string `yaml:"secretName"`
		DefaultMode int    `yaml:"defaultMode"`
		Items       []struct{ Key, Path string }
	}
}

// specOf is the pod of an object.
func (c *node) specOf(o object) podSpec {
	c.Helper()
	text, err := yaml.Marshal(o.pod())
	if err != nil {
		c.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var spec podSpec
	if err := d.Decode(&spec); err != nil {
		c.Fatalf("%s %s: %v", o.Kind, o.Metadata.Name, err)
	}
	return spec
}

// flags are the engine's for what a pod's spec says.
func (c *node) flags(o object, spec podSpec, pod string) []string {
	c.Helper()
	main, s := spec.Containers[0], spec.SecurityContext
	flags := []string{"--hostname", pod, "--user", fmt.Sprintf("%d:%d", s.RunAsUser, s.RunAsGroup), "--group-add", fmt.Sprint(s.FSGroup), "--pull", "never"}
	if main.SecurityContext.ReadOnlyRootFilesystem {
		flags = append(flags, "--read-only")
	}
	if !main.SecurityContext.AllowPrivilegeEscalation {
		flags = append(flags, "--security-opt", "no-new-privileges")
	}
	for _, name := range main.SecurityContext.Capabilities.Drop {
		flags = append(flags, "--cap-drop", name)
	}
	if limit := main.Resources.Limits["memory"]; limit != "" {
		flags = append(flags, "--memory", strings.ToLower(strings.TrimSuffix(limit, "i")))
	}
	for _, from := range main.EnvFrom {
		for name, value := range c.configs[from.ConfigMapRef.Name] {
			flags = append(flags, "--env", name+"="+value)
		}
	}
	for _, e := range main.Env {
		value := e.Value
		if ref := e.ValueFrom.SecretKeyRef; ref.Name != "" {
			value = c.secret(ref.Name, ref.Key)
		} else if field := e.ValueFrom.FieldRef.FieldPath; field == "metadata.name" {
			value = pod
		} else if field != "" {
			c.Fatalf("%s has an environment of %s", o.Metadata.Name, field)
		}
		flags = append(flags, "--env", e.Name+"="+value)
	}
	for _, m := range main.VolumeMounts {
		flags = append(flags, c.mount(pod, m.Name, m.MountPath, m.ReadOnly, spec)...)
	}
	return append(flags, c.aliases(o)...)
}

func (c *node) secret(name, key string) string {
	c.Helper()
	value, ok := c.secrets[name][key]
	if !ok {
		c.Fatalf("there is no Secret %s with %s", name, key)
	}
	return value
}

// mount is a volume as a kubelet makes it: what is there belongs to root and the pod's group.
func (c *node) mount(pod, name, path string, readOnly bool, spec podSpec) []string {
	c.Helper()
	group := spec.SecurityContext.FSGroup
	i := slices.IndexFunc(spec.Volumes, func(v volume) bool { return v.Name == name })
	switch {
	case i < 0: // of a claim
		dir := filepath.Join(c.dir, pod, name)
		// The last, for MkdirAll takes no setgid, and the umask away.
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, 0, group), os.Chmod(dir, 0o775|os.ModeSetgid)); err != nil {
			c.Fatal(err)
		}
		return []string{"--volume", dir + ":" + path}
	case spec.Volumes[i].Secret.SecretName != "":
		s := spec.Volumes[i].Secret
		for _, item := range s.Items {
			c.write(filepath.Join(pod, name, item.Path), c.secret(s.SecretName, item.Key), os.FileMode(s.DefaultMode)) //nolint:gosec // a mode has 9 bits
		}
		if !readOnly {
			c.Errorf("%s: the Secret %s is not mounted read-only", pod, s.SecretName)
		}
		return []string{"--volume", filepath.Join(c.dir, pod, name) + ":" + path + ":ro"}
	}
	size := strings.ToLower(strings.TrimSuffix(spec.Volumes[i].EmptyDir.SizeLimit, "i"))
	return []string{"--tmpfs", fmt.Sprintf("%s:rw,mode=2777,gid=%d,size=%s", path, group, size)}
}

// aliases are the names of the Services that lead to an object's pods.
func (c *node) aliases(o object) []string {
	var flags []string
	labels, _ := get(o.Spec, "template", "metadata", "labels").(map[string]any)
	for _, s := range c.all {
		selector, _ := get(s.Spec, "selector").(map[string]any)
		if s.Kind == "Service" && within(selector, labels) {
			flags = append(flags, "--network-alias", s.Metadata.Name)
		}
	}
	return flags
}

// running is a pod that runs.
type running struct {
	name, container string
	spec            podSpec
}

// jobs run as helm has them: by weight, each until it succeeds, at most as often as it may.
func (c *node) jobs() {
	c.Helper()
	var jobs []object
	for _, o := range c.all {
		if o.Kind == "Job" {
			jobs = append(jobs, o)
		}
	}
	weight := func(o object) int {
		n, err := strconv.Atoi(o.Metadata.Annotations["helm.sh/hook-weight"])
		if err != nil {
			c.Fatalf("%s: %v", o.Metadata.Name, err)
		}
		return n
	}
	slices.SortFunc(jobs, func(a, b object) int { return weight(a) - weight(b) })
	for _, o := range jobs {
		spec := c.specOf(o)
		args := append(append([]string{"run", "--rm", "--network", c.network}, c.flags(o, spec, o.Metadata.Name)...), append([]string{c.image}, spec.Containers[0].Args...)...)
		limit, _ := get(o.Spec, "backoffLimit").(int)
		for try := 0; ; try++ {
			out, err := docker(args...)
			c.Logf("%s: %s", o.Metadata.Name, lastLine(out))
			if err == nil {
				break
			}
			if try == limit {
				c.Fatalf("%s has failed %d times: %v\n%s", o.Metadata.Name, try+1, err, out)
			}
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// replicas starts the pods of a workload.
func (c *node) replicas(o object) []*running {
	c.Helper()
	count, _ := get(o.Spec, "replicas").(int)
	var pods []*running
	for i := range max(count, 1) {
		p := &running{name: fmt.Sprintf("%s-%d", o.Metadata.Name, i), spec: c.specOf(o)}
		main := p.spec.Containers[0]
		p.container = c.background(p.name, append(c.flags(o, p.spec, p.name), append([]string{c.image}, main.Args...)...)...)
		pods = append(pods, p)
	}
	return pods
}

// awaitReady asks what the probes of a pod would ask, from where they would: from outside of it.
func (c *node) awaitReady(p *running) {
	c.Helper()
	began := time.Now()
	main := p.spec.Containers[0]
	address := strings.TrimSpace(c.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", p.container))
	for _, probe := range []probe{main.StartupProbe, main.LivenessProbe, main.ReadinessProbe} {
		if probe.HTTPGet.Path == "" {
			c.Fatalf("%s lacks a probe", p.name)
		}
		url := fmt.Sprintf("%s://%s:%d%s", strings.ToLower(cmp.Or(probe.HTTPGet.Scheme, "HTTP")), address, port(p.spec, probe.HTTPGet.Port), probe.HTTPGet.Path)
		c.await(p.name+" at "+url, func() error {
			if c.docker("inspect", "--format", "{{.State.Running}}", p.container) != "true\n" {
				c.Fatalf("%s has ended", p.name)
			}
			return ask(url, time.Duration(probe.TimeoutSeconds)*time.Second)
		})
	}
	usage := c.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", p.container)
	c.Logf("%s is ready after %s more, memory %s", p.name, time.Since(began).Round(time.Second/10), strings.TrimSpace(usage))
}

// port is a container's port by its name.
func port(spec podSpec, name string) int {
	for _, p := range spec.Containers[0].Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}

// ask is nil if what answers at url says 200 within the time that a probe gives it.
func ask(url string, timeout time.Duration) error {
	// A kubelet does not look at certificates either.
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // said above
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}

// helmTest runs what `helm test` runs.
func (c *node) helmTest() {
	c.Helper()
	for _, o := range c.all {
		if o.Kind != "Pod" || o.Metadata.Annotations["helm.sh/hook"] != "test" {
			continue
		}
		spec := c.specOf(o)
		args := append([]string{"run", "--rm", "--network", c.network}, c.flags(o, spec, o.Metadata.Name)...)
		c.Logf("helm test:\n%s", c.docker(append(append(args, c.image), spec.Containers[0].Args...)...))
	}
}

// deliver registers a webhook, publishes events to it, and sees one arrive with its signature.
func (c *node) deliver(rest, grpc string) {
	c.Helper()
	// A receiver with a name that is no local one: those are refused as targets.
	receiver := c.background("receiver", "--network-alias", "receiver.example.com", "--env", "DOORSTEP_WEBHOOK_SECRET="+webhookKey, c.image, "listen", "--addr", ":9999")
	client := func(args ...string) (string, error) {
		env := []string{"run", "--rm", "--network", c.network, "--volume", c.dir + "/client:/client:ro", "--env", "DOORSTEP_URL=" + rest, "--env", "DOORSTEP_GRPC=" + grpc, "--env", "DOORSTEP_KEY=" + podKey}
		if strings.HasPrefix(rest, "https:") {
			env = append(env, "--env", "DOORSTEP_CA_FILE=/client/ca.crt")
		}
		return docker(append(append(env, c.image), args...)...)
	}
	out, err := client("webhooks", "create", "--file", "/client/webhook.json", "--to", "http://receiver.example.com:9999/hook", "--event-type", "*")
	if err != nil {
		c.Fatalf("no webhook: %v\n%s", err, out)
	}
	c.await("a delivery", func() error { // a new webhook takes effect within a second
		if out, err := client("publish", "--type", "card.updated", "--data", `{"name":"Oak table"}`); err != nil {
			return fmt.Errorf("publish: %w\n%s", err, out)
		}
		if got := c.docker("logs", receiver); !strings.Contains(got, "Oak table") || !strings.Contains(got, "signature verified") {
			return fmt.Errorf("the receiver has %q", got)
		}
		return nil
	})
	c.await("the history", func() error {
		out, err := client("deliveries", "list")
		if err != nil || !strings.Contains(out, "delivered") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// stop ends a pod as a kubelet does: told first, killed when its grace period is over. It must end by itself.
func (p *running) stop(t *testing.T) {
	t.Helper()
	grace := p.spec.TerminationGracePeriodSeconds - p.spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds
	began := time.Now()
	out, err := docker("stop", "--time", fmt.Sprint(grace), p.container)
	code, again := docker("inspect", "--format", "{{.State.ExitCode}}", p.container)
	if err := errors.Join(err, again); err != nil || strings.TrimSpace(code) != "0" {
		t.Errorf("%s ends with %s after %s of %d s: %v %s", p.name, strings.TrimSpace(code), time.Since(began), grace, err, out)
	}
}
