package emulator

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mainClass is what runs the SDK's jar, whose manifest names no class.
const mainClass = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"

// oldestJava is asked for where the jar does not say what it was compiled for.
const oldestJava = 11

// Piece is one of the things the emulator cannot run without.
type Piece string

// What can be missing.
const (
	Java Piece = "java"     // a Java runtime, new enough for the jar
	Jar  Piece = "emulator" // Google's cloud-firestore-emulator.jar
)

// MissingError says which piece of the emulator this machine lacks.
type MissingError struct {
	Piece  Piece
	Reason string // what was looked for, or what was found and does not do
	Remedy string // how to get it, in words for a person
}

// Error names the piece, the reason and the remedy in one line.
func (e *MissingError) Error() string {
	return fmt.Sprintf("no %s: %s; %s", e.Piece, e.Reason, e.Remedy)
}

// Installation is a runnable emulator on this machine.
type Installation struct {
	Java string // path of the java command
	Jar  string // path of the emulator's jar
}

// Find looks for the emulator's jar and for a Java runtime new enough for it.
// Where pieces are missing the error holds one [MissingError] for each, joined.
func Find(ctx context.Context) (Installation, error) {
	return find(ctx, os.Getenv)
}

func find(ctx context.Context, getenv func(string) string) (Installation, error) {
	jar, jarErr := findJar(getenv)
	need := oldestJava
	if jarErr == nil {
		need = javaNeeded(jar)
	}
	java, javaErr := findJava(ctx, getenv, need)
	if err := errors.Join(javaErr, jarErr); err != nil {
		return Installation{}, err
	}
	return Installation{Java: java, Jar: jar}, nil
}

// findJar returns the first jar of the Google Cloud SDK, or else the newest
// one that the Firebase tools keep.
func findJar(getenv func(string) string) (string, error) {
	roots := sdkRoots(getenv)
	for _, root := range roots {
		jar := filepath.Join(root, "platform", "cloud-firestore-emulator", "cloud-firestore-emulator.jar")
		if isFile(jar) {
			return jar, nil
		}
	}
	if home := getenv("HOME"); home != "" {
		cached, err := filepath.Glob(filepath.Join(home, ".cache", "firebase", "emulators", "cloud-firestore-emulator*.jar"))
		if err == nil && len(cached) > 0 {
			return slices.MaxFunc(cached, byVersion), nil
		}
	}
	return "", &MissingError{
		Piece:  Jar,
		Reason: "cloud-firestore-emulator.jar is not in the Google Cloud SDK (looked in " + strings.Join(roots, ", ") + ") nor in ~/.cache/firebase/emulators",
		Remedy: "get it with `gcloud components install cloud-firestore-emulator`, or from Google's apt repository with `apt-get install google-cloud-cli-firestore-emulator`, or set FIRESTORE_EMULATOR_HOST to one that runs already",
	}
}

// sdkRoots lists where the SDK may be, most telling first.
func sdkRoots(getenv func(string) string) []string {
	var roots []string
	add := func(dir string) {
		if dir != "" && !slices.Contains(roots, dir) {
			roots = append(roots, dir)
		}
	}
	add(getenv("CLOUDSDK_ROOT_DIR"))
	for _, dir := range filepath.SplitList(getenv("PATH")) {
		gcloud := filepath.Join(dir, "gcloud")
		if real, err := filepath.EvalSymlinks(gcloud); err == nil && isFile(real) {
			add(filepath.Dir(filepath.Dir(real)))
		}
	}
	for _, dir := range []string{"/usr/lib", "/usr/local", "/usr/share", "/opt", "/", getenv("HOME")} {
		if dir != "" {
			add(filepath.Join(dir, "google-cloud-sdk"))
		}
	}
	return append(roots, "/opt/homebrew/share/google-cloud-sdk", "/snap/google-cloud-cli/current")
}

// byVersion orders paths by the numbers in them, so that 1.19.10 is newer than
// 1.19.8.
func byVersion(a, b string) int {
	numbers := func(s string) []int {
		var ns []int
		for _, f := range strings.FieldsFunc(filepath.Base(s), func(r rune) bool { return r < '0' || r > '9' }) {
			n, _ := strconv.Atoi(f) // a number too long to be one counts as the largest
			ns = append(ns, n)
		}
		return ns
	}
	return slices.Compare(numbers(a), numbers(b))
}

// javaNeeded reads from the jar's main class which Java it was compiled for:
// the class file's major version is the Java version plus 44 (JVMS §4.1).
func javaNeeded(jar string) int {
	z, err := zip.OpenReader(jar)
	if err != nil {
		return oldestJava
	}
	defer func() { _ = z.Close() }()
	class, _ := manifestClass(&z.Reader)
	if class == "" {
		class = mainClass
	}
	f, err := z.Open(strings.ReplaceAll(class, ".", "/") + ".class")
	if err != nil {
		return oldestJava
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 8)
	if _, err := io.ReadFull(f, head); err != nil {
		return oldestJava
	}
	return int(binary.BigEndian.Uint16(head[6:])) - 44
}

var manifestMain = regexp.MustCompile(`(?m)^Main-Class: *(\S+)`)

// manifestClass returns the class that `java -jar` would run, empty if the
// manifest names none.
func manifestClass(z *zip.Reader) (string, error) {
	f, err := z.Open("META-INF/MANIFEST.MF")
	if err != nil {
		return "", fmt.Errorf("open manifest: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read manifest: %w", err)
	}
	if m := manifestMain.FindSubmatch(text); m != nil {
		return string(m[1]), nil
	}
	return "", nil
}

// findJava returns the first java that is at least version need, JAVA_HOME's
// before the PATH's.
func findJava(ctx context.Context, getenv func(string) string, need int) (string, error) {
	var candidates []string
	if home := getenv("JAVA_HOME"); home != "" {
		candidates = append(candidates, filepath.Join(home, "bin", "java"))
	}
	for _, dir := range filepath.SplitList(getenv("PATH")) {
		candidates = append(candidates, filepath.Join(dir, "java"))
	}
	reason := "no java in JAVA_HOME or on the PATH"
	for _, java := range candidates {
		if !isFile(java) {
			continue
		}
		version, err := javaVersion(ctx, java)
		switch {
		case err != nil:
			reason = fmt.Sprintf("%s does not run: %v", java, err)
		case version < need:
			reason = fmt.Sprintf("%s is version %d, the emulator needs %d", java, version, need)
		default:
			return java, nil
		}
	}
	return "", &MissingError{
		Piece:  Java,
		Reason: reason,
		Remedy: fmt.Sprintf("install a Java runtime of version %d or newer (Debian: `apt-get install default-jre-headless`) or point JAVA_HOME at one", need),
	}
}

var versionPattern = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

// javaVersion asks java for its feature version: 8 for "1.8.0_402", 17 for
// "17.0.15".
func javaVersion(ctx context.Context, java string) (int, error) {
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("run java -version: %w: %s", err, bytes.TrimSpace(out))
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no version in %q", bytes.TrimSpace(out))
	}
	return strconv.Atoi(string(m[1]))
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
