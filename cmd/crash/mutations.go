package main

// skewed has a worker's wall clock go wrong. The monotonic clock, and with it
// timers and deadlines, stays right.
func skewed() patch {
	return patch{
		file: "src/time/time.go",
		changes: []change{
			{"import (\n", "import (\n\t\"syscall\"\n"},
			{"\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {", "\tsec, nsec, mono := runtimeNow()\n\tsec += crashSkew\n\tif mono == 0 {"},
		},
		added: `
var crashSkew = readCrashSkew()

func readCrashSkew() int64 {
	text, _ := syscall.Getenv("` + skewVariable + `")
	n, err := atoi(text)
	if err != nil {
		return 0
	}
	return int64(n)
}
`,
	}
}

// mutation is a protection taken out of the program, and by what it is to be
// noticed.
type mutation struct {
	name    string
	means   string
	noticed []kind
	patches []patch
}

// mutations returns all there are.
func mutations() []mutation { return []mutation{withoutFence(), withoutLowWater(), withoutMargin()} }

func withoutFence() mutation {
	return mutation{
		name:    "fence",
		means:   "an outcome is written whatever has become of the document since its claim",
		noticed: []kind{overwritten, doubled},
		patches: []patch{{
			file: "delivery/queue/apply.go",
			changes: []change{
				{
					"\t\tafter, err := q.write(ctx, current, shortened(c, form))\n",
					"\t\tunfenced := current\n\t\tunfenced.UpdateTime = time.Time{}\n\t\tafter, err := q.write(ctx, unfenced, shortened(c, form))\n",
				},
				{
					"appendCondition(appendMask(w, c.Paths()), s.UpdateTime)",
					"ifUnchanged(appendMask(w, c.Paths()), s)",
				},
				{"if err == nil && delivery.ReadRecord(now.Fields).Lease.ID != lease {", "if false {"},
			},
			added: `
func ifUnchanged(w []byte, s delivery.Snapshot) []byte {
	if s.UpdateTime.IsZero() {
		return w
	}
	return appendCondition(w, s.UpdateTime)
}
`,
		}},
	}
}

func withoutLowWater() mutation {
	return mutation{
		name:    "low-water",
		means:   "a watch's place moves past documents that are not taken care of",
		noticed: []kind{stuck},
		patches: []patch{{
			file: "delivery/queue/marks.go",
			changes: []change{
				{"\tif m.last == nil {\n\t\tm.low = p\n\t\treturn\n", "\tm.low = p\n\tif m.last == nil {\n\t\treturn\n"},
				{"m.low, m.first = s.end, s.next", "m.first = s.next"},
			},
		}},
	}
}

func withoutMargin() mutation {
	return mutation{
		name:    "margin",
		means:   "an attempt goes on beyond its lease, which is not renewed",
		noticed: []kind{unexplained, doubled},
		patches: []patch{{
			file:    "worker/tenure.go",
			changes: []change{{"if t.last.Before(deadline) {", "if true {"}},
		}},
	}
}

func mutationNames() []string {
	var names []string
	for _, m := range mutations() {
		names = append(names, m.name)
	}
	return names
}

// mutationNamed returns a mutation; the zero one for "".
func mutationNamed(name string) mutation {
	for _, m := range mutations() {
		if m.name == name {
			return m
		}
	}
	return mutation{}
}
