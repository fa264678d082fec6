package emulator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// java writes a command that answers -version.
func java(t *testing.T, dir, version string) string {
	t.Helper()
	path := filepath.Join(dir, "java")
	script := fmt.Sprintf("#!/bin/sh\necho 'openjdk version \"%s\" 2025-04-15' >&2\n", version)
	writeScript(t, path, script)
	return path
}

func writeScript(t *testing.T, path, script string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

const sdkJar = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"

func TestFindFollowsTheGcloudOnThePath(t *testing.T) {
	sdk, bin := t.TempDir(), t.TempDir()
	want := jar(t, filepath.Join(sdk, sdkJar), "", 55)
	writeScript(t, filepath.Join(sdk, "bin", "gcloud"), "#!/bin/sh\n")
	if err := os.Symlink(filepath.Join(sdk, "bin", "gcloud"), filepath.Join(bin, "gcloud")); err != nil {
		t.Fatal(err)
	}
	wantJava := java(t, bin, "17.0.15")
	got, err := find(t.Context(), environment(map[string]string{"PATH": bin}))
	if err != nil {
		t.Fatal(err)
	}
	if resolved, err := filepath.EvalSymlinks(want); err != nil || got.Jar != resolved || got.Java != wantJava {
		t.Errorf("got %+v, want %s and %s (%v)", got, resolved, wantJava, err)
	}
}

func TestFindTakesTheSDKBeforeTheFirebaseTools(t *testing.T) {
	home := t.TempDir()
	newest := jar(t, filepath.Join(home, ".cache/firebase/emulators/cloud-firestore-emulator-v1.19.10.jar"), "x.Main", 55)
	jar(t, filepath.Join(home, ".cache/firebase/emulators/cloud-firestore-emulator-v1.19.8.jar"), "x.Main", 55)
	cached, err := filepath.Glob(filepath.Join(home, ".cache/firebase/emulators/*.jar"))
	if err != nil || len(cached) != 2 {
		t.Fatalf("%v, %v", cached, err)
	}
	if byVersion(cached[0], cached[1]) == 0 {
		t.Errorf("%s and %s are of one version", cached[0], cached[1])
	}
	for _, c := range cached {
		if byVersion(c, newest) > 0 {
			t.Errorf("%s is newer than %s", c, newest)
		}
	}
	sdk := filepath.Join(home, "sdk")
	want := jar(t, filepath.Join(sdk, sdkJar), "", 55)
	if got, err := findJar(environment(map[string]string{"HOME": home, "CLOUDSDK_ROOT_DIR": sdk})); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestFindNamesEveryMissingPieceWithItsRemedy(t *testing.T) {
	if isFile("/usr/lib/google-cloud-sdk/"+sdkJar) || isFile("/usr/share/google-cloud-sdk/"+sdkJar) {
		t.Log("an SDK is installed: the jar cannot be missing here")
	} else if _, err := find(t.Context(), environment(nil)); err == nil || !strings.Contains(err.Error(), "gcloud components install") {
		t.Errorf("no jar: %v", err)
	}
	_, err := findJava(t.Context(), environment(nil), 11)
	var missing *MissingError
	if !errors.As(err, &missing) || missing.Piece != Java || !strings.Contains(missing.Remedy, "default-jre-headless") {
		t.Errorf("no java: %v", err)
	}
}

func TestJavaMustBeNewEnough(t *testing.T) {
	tests := map[string]struct {
		version string
		need    int
		found   bool
	}{
		"one too old by one":     {"10.0.2", 11, false},
		"just new enough":        {"11.0.1", 11, true},
		"newer":                  {"21", 11, true},
		"old numbering":          {"1.8.0_402", 11, false},
		"old numbering suffices": {"1.8.0_402", 8, true},
		"unreadable":             {"none", 8, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := java(t, dir, tt.version)
			got, err := findJava(t.Context(), environment(map[string]string{"PATH": dir}), tt.need)
			if (got == path) != tt.found {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestJavaHomeComesBeforeThePath(t *testing.T) {
	home, bin := t.TempDir(), t.TempDir()
	java(t, bin, "17")
	want := java(t, filepath.Join(home, "bin"), "21")
	if got, err := findJava(t.Context(), environment(map[string]string{"JAVA_HOME": home, "PATH": bin}), 11); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	old := t.TempDir()
	java(t, filepath.Join(old, "bin"), "9")
	if got, err := findJava(t.Context(), environment(map[string]string{"JAVA_HOME": old, "PATH": bin}), 11); err != nil || got != filepath.Join(bin, "java") {
		t.Errorf("with an old JAVA_HOME: got %s, %v", got, err)
	}
}

func TestTheJarSaysWhichJavaItNeeds(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		path string
		want int
	}{
		"the SDK's, by its known class": {jar(t, filepath.Join(dir, "a.jar"), "", 55), 11},
		"one with a class of its own":   {jar(t, filepath.Join(dir, "b.jar"), "some.Main", 65), 21},
		"one that is not there":         {filepath.Join(dir, "none.jar"), oldestJava},
		"one without a package":         {jar(t, filepath.Join(dir, "c.jar"), "x", 61), 17},
	} {
		if got := javaNeeded(tt.path); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}
