package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a day without mail costs is what the README says.
func TestIdleDayCostsWhatTheREADMESays(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		defer w.end()
		for i := range 100 {
			w.add(fmt.Sprint("doc-", i))
		}
		o := worldOptions(0)
		o.Sweep = 35 * time.Second // the default of SWEEP_INTERVAL
		w.open(o).run()
		w.settle(100, time.Minute)
		before := w.server.Usage()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		after := w.server.Usage()
		reads, writes := after.Reads-before.Reads, after.Writes-before.Writes
		t.Logf("%d reads, %d writes", reads, writes)
		const want = "about 3,300 reads and 900 writes a day"
		if reads < 2_800 || reads > 3_800 || writes < 700 || writes > 1_100 {
			t.Errorf("%d reads and %d writes, not %s", reads, writes, want)
		}
		if !strings.Contains(strings.Join(strings.Fields(string(readme)), " "), want) {
			t.Errorf("the README does not say %q", want)
		}
	})
}
