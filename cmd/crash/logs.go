package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// maxLine is how long a line of a worker's log may be, in bytes.
const maxLine = 1 << 20

// claims reads a worker's log, and returns when it claimed which document, by the
// right clock. A worker that was killed may have left half a line.
func claims(path string, skew time.Duration) (map[string][]time.Time, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a worker's log: %w", err)
	}
	defer func() { _ = file.Close() }()
	all := map[string][]time.Time{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var line struct {
			Message, Doc string
			Time         time.Time
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "claimed" && line.Doc != "" {
			all[line.Doc] = append(all[line.Doc], line.Time.Add(-skew))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read a worker's log: %w", err)
	}
	return all, nil
}

// known puts what the workers' logs have into f.
func (c *crew) known(f *facts) error {
	for _, p := range c.processes {
		all, err := claims(p.log, p.skew)
		if err != nil {
			return err
		}
		for doc, times := range all {
			for _, at := range times {
				f.touched[doc] = append(f.touched[doc], touch{p.name, at})
			}
		}
	}
	return nil
}
