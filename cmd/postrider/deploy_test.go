package main_test

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"postrider/config"
	"postrider/delivery"
)

// deployed returns a file of deploy/.
func deployed(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func variables() map[string]config.Variable {
	all := map[string]config.Variable{}
	for _, v := range config.Table() {
		all[v.Name] = v
	}
	return all
}

// loads reports whether the program would start with these variables.
func loads(t *testing.T, environment map[string]string) {
	t.Helper()
	_, err := config.Load(func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	})
	if err != nil {
		t.Errorf("the program would not start: %v", err)
	}
}

func TestExampleEnvironmentNamesEveryVariable(t *testing.T) {
	known, seen, environment := variables(), map[string]bool{}, map[string]string{}
	for line := range strings.Lines(deployed(t, "env.example")) {
		line = strings.TrimSuffix(line, "\n")
		assignment, commented := strings.CutPrefix(line, "#")
		name, value, found := strings.Cut(assignment, "=")
		if !found || strings.Contains(name, " ") {
			continue // a sentence, or an empty line
		}
		v, ok := known[name]
		if !ok {
			t.Errorf("%s is no variable of the program", name)
		}
		if seen[name] {
			t.Errorf("%s appears twice", name)
		}
		seen[name] = true
		if !commented {
			environment[name] = value
		}
		if commented && v.Default != "" && value != v.Default {
			t.Errorf("%s: shown %q, but the default is %q", name, value, v.Default)
		}
	}
	for name := range known {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
	loads(t, environment)
}

// service is what the tests read of a Cloud Run service.
type service struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Spec       struct {
		Template struct {
			Metadata struct{ Annotations map[string]string }
			Spec     struct {
				ServiceAccountName string `yaml:"serviceAccountName"`
				Containers         []struct {
					Image string
					Ports []struct {
						ContainerPort int `yaml:"containerPort"`
					}
					Env []struct {
						Name, Value string
						ValueFrom   struct {
							SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
						} `yaml:"valueFrom"`
					}
					StartupProbe  probe `yaml:"startupProbe"`
					LivenessProbe probe `yaml:"livenessProbe"`
				}
			}
		}
	}
}

type probe struct {
	HTTPGet struct {
		Path string
		Port int
	} `yaml:"httpGet"`
}

func TestCloudRunServiceWouldStart(t *testing.T) {
	var s service
	if err := yaml.Unmarshal([]byte(deployed(t, "service.yaml")), &s); err != nil {
		t.Fatal(err)
	}
	if s.APIVersion != "serving.knative.dev/v1" || s.Kind != "Service" || len(s.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("not a Cloud Run service with one container: %+v", s)
	}
	annotations := s.Spec.Template.Metadata.Annotations
	if annotations["autoscaling.knative.dev/minScale"] != "1" || annotations["run.googleapis.com/cpu-throttling"] != "false" {
		t.Errorf("nobody would watch the collection: %v", annotations)
	}
	if s.Spec.Template.Spec.ServiceAccountName == "" {
		t.Error("the service has no account of its own")
	}
	container := s.Spec.Template.Spec.Containers[0]
	known, environment := variables(), map[string]string{}
	known["GOMEMLIMIT"] = config.Variable{Name: "GOMEMLIMIT"} // the Go runtime's
	for _, v := range container.Env {
		row, ok := known[v.Name]
		if !ok || v.Name == "PORT" {
			t.Errorf("%s is no variable to set here", v.Name)
		}
		secret := v.ValueFrom.SecretKeyRef
		if (v.Value == "") == (secret.Name == "" || secret.Key == "") {
			t.Errorf("%s: want a value or a secret", v.Name)
		}
		if row.Secret && secret.Name == "" && v.Name != "SMTP_CONNECTION_URI" {
			t.Errorf("%s is in the file in plain text", v.Name)
		}
		environment[v.Name] = v.Value + secret.Name
	}
	loads(t, environment)
	if got := container.StartupProbe.HTTPGet; got.Path != "/readyz" || got.Port != container.Ports[0].ContainerPort {
		t.Errorf("startup probe: %+v", got)
	}
	if got := container.LivenessProbe.HTTPGet; got.Path != "/healthz" || got.Port != container.Ports[0].ContainerPort {
		t.Errorf("liveness probe: %+v", got)
	}
}

func TestIndexesNameFieldsThatExist(t *testing.T) {
	type index struct{ Order, QueryScope, ArrayConfig string }
	type composite struct {
		CollectionGroup, QueryScope string
		Fields                      []struct{ FieldPath, Order, ArrayConfig string }
	}
	var file struct {
		Indexes        []composite
		FieldOverrides []struct {
			CollectionGroup, FieldPath string
			TTL                        bool
			Indexes                    *[]index
		}
	}
	decoder := json.NewDecoder(strings.NewReader(deployed(t, "firestore.indexes.json")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	known := append(recordFields(), "message", "template", "headers", "sendGrid", "delivery", "delivery.outcome.class", "delivery.info.messageId")
	indexed := map[string]bool{}
	for _, f := range file.FieldOverrides {
		if f.CollectionGroup != "mail" || !slices.Contains(known, f.FieldPath) {
			t.Errorf("%s.%s does not exist", f.CollectionGroup, f.FieldPath)
		}
		if f.TTL != (f.FieldPath == "delivery.expireAt") {
			t.Errorf("%s: TTL %v", f.FieldPath, f.TTL)
		}
		if f.Indexes == nil {
			t.Fatalf("%s: no list of indexes", f.FieldPath)
		}
		indexed[f.FieldPath] = slices.Contains(*f.Indexes, index{Order: "ASCENDING", QueryScope: "COLLECTION"})
	}
	if len(file.Indexes) != 1 || fmt.Sprint(file.Indexes[0]) != "{mail COLLECTION [{delivery.reached  CONTAINS} {delivery.reachedTime ASCENDING }]}" {
		t.Errorf("MAX_PER_RECIPIENT can't be counted by %v", file.Indexes)
	}
	for _, f := range file.Indexes[0].Fields {
		if !slices.Contains(known, f.FieldPath) {
			t.Errorf("%s does not exist", f.FieldPath)
		}
	}
	// By sweep, audit and receipts.
	asked := []string{"delivery.state", "delivery.nextAttemptTime", "delivery.outcome.class", "delivery.info.messageId"}
	for _, f := range append(asked, "message", "template", "delivery", "delivery.expireAt") {
		on, there := indexed[f]
		if !there || on != slices.Contains(asked, f) {
			t.Errorf("%s: override %v, indexed %v", f, there, on)
		}
	}
}

// recordFields returns the paths that the program's writes to a record name.
func recordFields() []string {
	now := time.Now()
	r := delivery.Record{NextAttempt: now}
	p := delivery.Policy{TTL: delivery.TTL{Unit: "day", Value: 1}, PerRecipient: delivery.Rate{N: 1, Per: time.Hour}}
	claimed := r.Claimed(delivery.Lease{ID: "a", Expires: now}, p, now)
	delivered := r.Ended(delivery.Attempt{Recipients: []delivery.Recipient{{Status: delivery.Accepted}}}, p, 0, now)
	var paths []string
	for _, name := range append(claimed.Paths(), delivered.Paths()...) {
		paths = append(paths, "delivery."+name)
	}
	return paths
}

func TestImageHoldsAStaticBinary(t *testing.T) {
	var build string
	for line := range strings.Lines(deployed(t, "Dockerfile")) {
		if command, ok := strings.CutPrefix(line, "RUN "); ok && strings.Contains(command, "go build") {
			build = strings.TrimSpace(command)
		}
	}
	binary := filepath.Join(t.TempDir(), "postrider")
	build = strings.Replace(build, "-o /out/postrider", "-o '"+binary+"'", 1)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", build)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary is linked dynamically: %v", p.Type)
		}
	}
}

// What the build needs must not be kept from it.
func TestImageIsBuiltFromEveryPackage(t *testing.T) {
	ignore := deployed(t, "Dockerfile.dockerignore")
	root := filepath.Join("..", "..")
	folders, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !f.IsDir() || strings.HasPrefix(f.Name(), ".") || strings.Contains(ignore, "\n!"+f.Name()+"\n") {
			continue
		}
		err := filepath.WalkDir(filepath.Join(root, f.Name()), func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") {
				t.Errorf("%s is left out of the image's build by Dockerfile.dockerignore", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
