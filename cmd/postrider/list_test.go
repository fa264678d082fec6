package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"postrider/delivery"
)

func TestListPrintsALineForEachDocument(t *testing.T) {
	s := newShelf(t)
	for name, record := range records() {
		s.put(name, record)
	}
	code, out, errors := s.run("list")
	if code != exitDone || errors != "" {
		t.Errorf("exit %d, %s", code, errors)
	}
	golden(t, "list", out)
}

// ids returns the first words of a list's lines, without its heading.
func ids(out string) string {
	var all []string
	for line := range strings.Lines(out) {
		if word := strings.Fields(line)[0]; word != "ID" {
			all = append(all, word)
		}
	}
	return strings.Join(all, " ")
}

func TestListFilters(t *testing.T) {
	s := newShelf(t)
	put := func(id, state, class string) {
		s.put(id, delivery.Fields{"state": state, "outcome": delivery.Fields{"class": class}})
	}
	put("a", "ERROR", "unknown")
	put("b", "ERROR", "permanent")
	put("c", "RETRY", "unknown")
	put("d", "SUCCESS", "delivered")
	put("e", "ERROR", "unknown")
	s.put("f", nil)
	for args, want := range map[string]struct{ ids, says string }{
		"":                              {"a b c d e f", ""},
		"--state ERROR":                 {"a b e", ""},
		"--state error":                 {"a b e", ""},
		"--class unknown":               {"a c e", ""},
		"--state ERROR --class unknown": {"a e", ""},
		"--class unknown --state RETRY": {"c", ""},
		"--state PENDING":               {"", "there is no such document"},
		"--limit 2":                     {"a b", "there are more than these 2"},
		"--limit 6":                     {"a b c d e f", ""},
		"--limit 0":                     {"a b c d e f", ""},
		"--state ERROR --limit 3":       {"a b e", ""},
		"--state ERROR --limit 2":       {"a b", "there are more than these 2"},
		"--class unknown --state ERROR --limit 1": {"a", "there are more than these 1"},
	} {
		code, out, errors := s.run(append([]string{"list"}, strings.Fields(args)...)...)
		if code != exitDone || ids(out) != want.ids || !strings.HasPrefix(errors, want.says) || want.says == "" && errors != "" {
			t.Errorf("%s: exit %d, %q, %q", args, code, ids(out), errors)
		}
	}
	for _, args := range []string{"--state DONE", "--class broken", "--limit -1", "--limit x", "a"} {
		if code, out, _ := s.run(append([]string{"list"}, strings.Fields(args)...)...); code != exitUsage || out != "" {
			t.Errorf("%s: exit %d, %q", args, code, out)
		}
	}
}

func TestListAsJSONHasOneObjectALine(t *testing.T) {
	s := newShelf(t)
	want := 120 // more than a page of any kind
	for i := range want {
		s.put(fmt.Sprintf("m%03d", i), delivery.Fields{"state": "ERROR", "error": "a\nb", "endTime": at(i % 60)})
	}
	code, out, errors := s.run("list", "--json", "--limit", "0", "--state", "ERROR")
	if code != exitDone || errors != "" {
		t.Errorf("exit %d, %s", code, errors)
	}
	n := 0
	for line := range strings.Lines(out) {
		var v struct {
			ID       string
			Delivery struct{ State, Error, EndTime string }
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.ID != fmt.Sprintf("m%03d", n) || v.Delivery.Error != "a\nb" ||
			v.Delivery.EndTime != at(n%60).Format("2006-01-02T15:04:05.999999999Z07:00") {
			t.Errorf("line %d is %s (%v)", n, line, err)
		}
		n++
	}
	if n != want {
		t.Errorf("%d lines, want %d", n, want)
	}
}
