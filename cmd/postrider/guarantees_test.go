package main_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var testName = regexp.MustCompile("`(Test[A-Za-z]+)`")

// The tests that the README names for a guarantee are there.
func TestREADMENamesTestsThatExist(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var there strings.Builder
	for _, s := range sources(t) {
		if s.test {
			there.Write(s.text)
		}
	}
	names := testName.FindAllSubmatch(readme, -1)
	for _, name := range names {
		if !strings.Contains(there.String(), "\nfunc "+string(name[1])+"(t *testing.T)") {
			t.Errorf("there is no %s", name[1])
		}
	}
	if len(names) < 10 {
		t.Errorf("the README names %d tests", len(names))
	}
}
