package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// nodemailerVersion is the one that is compared with.
const nodemailerVersion = "10.6.0"

// How nodemailer comes by the bytes of a mail. Of their own accord it and go-mail
// compose each as they send it.
const (
	composing  = "composing"
	beforehand = "beforehand"
)

//go:embed nodemailer.mjs
var nodemailerScript []byte

// nodemailer returns the path of the script, beside which nodemailer is
// installed. It is fetched once and kept in the user's cache.
func nodemailer(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for nodemailer: %w", err)
	}
	dir := filepath.Join(cache, "postrider", "nodemailer-"+nodemailerVersion)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make a folder for nodemailer: %w", err)
	}
	installed, _ := os.ReadFile(filepath.Join(dir, "node_modules", "nodemailer", "package.json"))
	if !bytes.Contains(installed, []byte(`"version": "`+nodemailerVersion+`"`)) {
		c := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--no-save", "--no-audit", "--no-fund", "nodemailer@"+nodemailerVersion) //nolint:gosec // a fixed command, but for the cache's path
		if said, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("npm install nodemailer: %w\n%s", err, said)
		}
	}
	script := filepath.Join(dir, "bench.mjs")
	if err := os.WriteFile(script, nodemailerScript, 0o600); err != nil {
		return "", fmt.Errorf("write the script for nodemailer: %w", err)
	}
	return script, nil
}

// nodemailerSender is nodemailer's pooled transport in a process of its own.
type nodemailerSender struct{ *helper }

func startNodemailer(ctx context.Context, script, server string, connections int, mode string) (*nodemailerSender, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return nil, fmt.Errorf("split %s: %w", server, err)
	}
	c := exec.CommandContext(ctx, "node", script, host, port, strconv.Itoa(connections), strconv.Itoa(sendersEach*connections), mode) //nolint:gosec // a script of ours
	h, err := attach("nodemailer", c)
	if err != nil {
		return nil, err
	}
	return &nodemailerSender{h}, nil
}

func (s *nodemailerSender) sendFor(_ context.Context, spell time.Duration) (float64, error) {
	said, err := s.ask(spell.Milliseconds())
	if err != nil {
		return 0, err
	}
	var sent, took float64
	if _, err := fmt.Sscan(said, &sent, &took); err != nil {
		return 0, fmt.Errorf("read what nodemailer said: %w", err)
	}
	return sent / took * 1000, nil
}
