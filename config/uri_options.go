package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func sortedKeys(v url.Values) []string { return slices.Sorted(maps.Keys(v)) }

// flag reads true and false; nodemailer takes 1 and 0 for them, too.
func flag(v string) (bool, error) {
	switch v {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errors.New("write true or false")
}

// truth reports whether v is a flag that is on.
func truth(v string) bool {
	on, err := flag(v)
	return on && err == nil
}

func wholeNumber(v string, low, high int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("write a whole number from %d to %d", low, high)
	}
	return n, nil
}

// ignoreFlag is for options about nodemailer's own logging: LOG_LEVEL is ours.
func ignoreFlag(_ uriTarget, v string) error {
	_, err := flag(v)
	return err
}

// setPool reads whether connections are used again. They are unless it is said
// that they should not.
func setPool(t uriTarget, v string) error {
	pool, err := flag(v)
	if err == nil && !pool {
		t.MaxMessages = 1
	}
	return err
}

// setSecure refuses smtp with secure=true: for the extension the scheme wins
// silently, and whoever wrote it did not mean to send without TLS.
func setSecure(t uriTarget, v string) error {
	secure, err := flag(v)
	if err == nil && secure && !t.uri.secure {
		return errors.New("remove it: the scheme smtps means TLS from the first byte, the scheme smtp means STARTTLS")
	}
	return err
}

// setReject reads whether certificates are verified. As for Node, only false
// says that they are not.
func setReject(t uriTarget, v string) error {
	if _, err := flag(v); err != nil {
		return err
	}
	return t.tls.set("rejectUnauthorized", v != "false")
}

// unsupported refuses an option of nodemailer's without which the mail would go
// another way than it says.
func unsupported(_ uriTarget, v string) error {
	if off, err := flag(v); err == nil && !off {
		return nil
	}
	return errors.New("remove it: only SMTP, straight to the server of the URI, is supported")
}

func setMechanism(t uriTarget, v string) error {
	mechanisms := []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"}
	v = strings.ToUpper(v)
	if v == "XOAUTH2" {
		return errors.New("set AUTH_TYPE to " + authOAuth2 + " and its variables instead")
	}
	if !slices.Contains(mechanisms, v) {
		return errors.New("write one of " + strings.Join(mechanisms, ", "))
	}
	t.Mechanism = v
	return nil
}

func setLocalAddress(t uriTarget, v string) error {
	if net.ParseIP(v) == nil {
		return errors.New("write an IP address of this machine")
	}
	t.LocalAddress = v
	return nil
}

// setName reads the name for EHLO: a host's, or an address literal (RFC 5321
// §4.1.3).
func setName(t uriTarget, v string) error {
	notName := func(c rune) bool { return c <= ' ' || c >= 0x7f }
	if v == "" || strings.ContainsFunc(v, notName) {
		return errors.New("write the host name to greet with, as mail.example.com")
	}
	t.Name = v
	return nil
}
