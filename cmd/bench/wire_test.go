package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestBareEnvelopeSaysHowLargeTheMailIs(t *testing.T) {
	if want := fmt.Sprintf(" SIZE=%d\r\n", len(bareMail)); !strings.Contains(bareEnvelope(), want) {
		t.Errorf("no %q in %q", want, bareEnvelope())
	}
	if strings.Contains(strings.ReplaceAll(bareMail, "\r\n", ""), "\n") || strings.Contains(bareMail, "\r\n.") {
		t.Errorf("not fit to be sent as it is: %q", bareMail)
	}
}
