package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	progressTick = 250 * time.Millisecond // between two looks at how far it has come
	progressLine = 5 * time.Second        // between two lines where there is no terminal
	progressBar  = 30                     // characters
)

// progress tells a person how far something has come: by a bar on a terminal,
// elsewhere by a line from time to time. It is safe for concurrent use.
type progress struct {
	w        io.Writer
	terminal bool

	mu  sync.Mutex
	bar string // that is on the terminal
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if file, ok := w.(*os.File); ok {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// say prints lines, above the bar if there is one.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%s%s\n%s", p.wipe(), fmt.Sprintf(format, args...), p.bar)
}

// wipe returns what clears the bar.
func (p *progress) wipe() string {
	if p.bar == "" {
		return ""
	}
	return "\r\x1b[K"
}

// draw puts up another bar, none if it is empty.
func (p *progress) draw(bar string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.w, p.wipe()+bar)
	p.bar = bar
}

// follow tells how far work has come until it returns: so many of total, which
// count is asked for on one goroutine, four times a second and at the end.
func (p *progress) follow(verb string, total int, count func() int, work func() error) error {
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		began, told := time.Now(), time.Now()
		tick := time.NewTicker(progressTick)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				count()
				return
			case now := <-tick.C:
				switch done := count(); {
				case p.terminal:
					p.draw(barOf(verb, done, total, now.Sub(began)))
				case now.Sub(told) >= progressLine:
					told = now
					p.say("%s", lineOf(verb, done, total, now.Sub(began)))
				}
			}
		}
	})
	err := work()
	close(stop)
	watching.Wait()
	p.draw("")
	return err
}

// barOf returns a bar with its figures, in less than 80 characters.
func barOf(verb string, done, total int, since time.Duration) string {
	done = min(done, total)
	full := progressBar * done / total
	return fmt.Sprintf("%-8s [%s%s] %3d %%  %s", verb, strings.Repeat("=", full), strings.Repeat(" ", progressBar-full),
		100*done/total, pace(done, total, since))
}

func lineOf(verb string, done, total int, since time.Duration) string {
	return fmt.Sprintf("%s: %s of %s, %s", verb, grouped(int64(done)), grouped(int64(total)), pace(done, total, since))
}

// pace returns how many were done in a second, and how long the rest will take.
func pace(done, total int, since time.Duration) string {
	rate := float64(done) / since.Seconds()
	if done == 0 || rate <= 0 {
		return "…"
	}
	left := time.Duration(float64(total-done) / rate * float64(time.Second))
	return fmt.Sprintf("%s/s, %s left", digits(rate), left.Round(time.Second))
}
