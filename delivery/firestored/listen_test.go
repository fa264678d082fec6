package firestored

import (
	"slices"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
)

func TestListen(t *testing.T) {
	for rule, script := range map[string]string{
		"a target begins with its documents and a snapshot": `
			> set mail/b n=2; set mail/a n=1; set other/c n=3
			> listen
			> add 1 from=mail
			< ADD 1
			< DOC mail/a n=1 for 1
			< DOC mail/b n=2 for 1
			< CURRENT 1
			< SNAPSHOT`,
		"a change is told by what it does to the target": `
			> listen
			> add 1 from=mail atleast=n:2
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			> set mail/a n=1
			> set mail/a n=2
			< DOC mail/a n=2 for 1
			< SNAPSHOT
			> set mail/a n=3
			< DOC mail/a n=3 for 1
			< SNAPSHOT
			> set mail/a n=1
			< REMOVE mail/a for 1
			< SNAPSHOT
			> delete mail/a
			> set mail/b n=2
			< DOC mail/b n=2 for 1
			< SNAPSHOT
			> delete mail/b
			< DELETE mail/b for 1
			< SNAPSHOT
			> set other/b n=2`,
		"a commit is one snapshot": `
			> set mail/a n=1; set mail/b n=1
			> listen
			> add 1 from=mail
			< ADD 1
			< DOC mail/a n=1 for 1
			< DOC mail/b n=1 for 1
			< CURRENT 1
			< SNAPSHOT
			> set mail/c n=2; delete mail/a; set mail/b n=2
			< DOC mail/c n=2 for 1
			< DELETE mail/a for 1
			< DOC mail/b n=2 for 1
			< SNAPSHOT`,
		"targets share a message": `
			> set mail/a n=1
			> listen
			> add 1 from=mail
			< ADD 1
			< DOC mail/a n=1 for 1
			< CURRENT 1
			< SNAPSHOT
			> add 2 from=mail atleast=n:2
			< ADD 2
			< CURRENT 2
			< SNAPSHOT
			> add 3 docs=mail/a
			< ADD 3
			< DOC mail/a n=1 for 3
			< CURRENT 3
			< SNAPSHOT
			> set mail/a n=2
			< DOC mail/a n=2 for 1 2 3
			< SNAPSHOT
			> set mail/a n=1
			< DOC mail/a n=1 for 1 3 not 2
			< SNAPSHOT
			> delete mail/a
			< DELETE mail/a for 1 3
			< SNAPSHOT`,
		"a documents target says which documents there are not": `
			> set mail/b n=1
			> listen
			> add 1 docs=mail/b,mail/a,users/u/mail/c
			< ADD 1
			< DELETE mail/a for 1
			< DOC mail/b n=1 for 1
			< DELETE users/u/mail/c for 1
			< CURRENT 1
			< SNAPSHOT
			> set mail/c n=1
			> set users/u/mail/c n=1
			< DOC users/u/mail/c n=1 for 1
			< SNAPSHOT
			> delete mail/b
			< DELETE mail/b for 1
			< SNAPSHOT`,
		"the collections of a query are those of its parent, or all of that ID": `
			> listen
			> add 1 parent=users/u from=mail
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			> add 2 from=mail all
			< ADD 2
			< CURRENT 2
			< SNAPSHOT
			> set mail/a n=1
			< DOC mail/a n=1 for 2
			< SNAPSHOT
			> set users/u/mail/a n=1
			< DOC users/u/mail/a n=1 for 1 2
			< SNAPSHOT
			> set users/u2/mail/a n=1
			< DOC users/u2/mail/a n=1 for 2
			< SNAPSHOT
			> set users/u/mail/a/mail/b n=1
			< DOC users/u/mail/a/mail/b n=1 for 2
			< SNAPSHOT
			> set email/a n=1`,
		"a cursor bounds the result": `
			> set mail/a n=1; set mail/b n=2
			> listen
			> add 1 from=mail order=n startat=2
			< ADD 1
			< DOC mail/b n=2 for 1
			< CURRENT 1
			< SNAPSHOT
			> set mail/a n=0
			> set mail/b n=1
			< REMOVE mail/b for 1
			< SNAPSHOT`,
		"a limit keeps the first documents of the order": `
			> set mail/a n=5; set mail/b n=3; set mail/c n=4
			> listen
			> add 1 from=mail order=n limit=2
			< ADD 1
			< DOC mail/b n=3 for 1
			< DOC mail/c n=4 for 1
			< CURRENT 1
			< SNAPSHOT
			> set mail/a n=6
			> set mail/a n=1
			< DOC mail/a n=1 for 1
			< REMOVE mail/c for 1
			< SNAPSHOT
			> delete mail/a
			< DOC mail/c n=4 for 1
			< DELETE mail/a for 1
			< SNAPSHOT
			> set mail/b n=2
			< DOC mail/b n=2 for 1
			< SNAPSHOT`,
		"an offset leaves out the first documents": `
			> set mail/a n=1; set mail/b n=2
			> listen
			> add 1 from=mail offset=1
			< ADD 1
			< DOC mail/b n=2 for 1
			< CURRENT 1
			< SNAPSHOT
			> delete mail/a
			< REMOVE mail/b for 1
			< SNAPSHOT`,
		"a query that selects fields gets them alone": `
			> set mail/a n=1 m=2
			> listen
			> add 1 from=mail select=n
			< ADD 1
			< DOC mail/a n=1 for 1
			< CURRENT 1
			< SNAPSHOT
			> add 2 docs=mail/a
			< ADD 2
			< DOC mail/a m=2 n=1 for 2
			< CURRENT 2
			< SNAPSHOT
			> set mail/a n=3 m=3
			< DOC mail/a n=3 for 1
			< DOC mail/a m=3 n=3 for 2
			< SNAPSHOT`,
		"a target with a selection does not hide that another lost the document": `
			> set mail/a n=2 m=2
			> listen
			> add 1 from=mail select=n
			< ADD 1
			< DOC mail/a n=2 for 1
			< CURRENT 1
			< SNAPSHOT
			> add 2 from=mail atleast=n:2
			< ADD 2
			< DOC mail/a m=2 n=2 for 2
			< CURRENT 2
			< SNAPSHOT
			> set mail/a n=1
			< DOC mail/a n=1 for 1
			< REMOVE mail/a for 2
			< SNAPSHOT`,
	} {
		t.Run(rule, func(t *testing.T) { runScript(t, Options{}, Faults{}, script) })
	}
}

func TestListenTargets(t *testing.T) {
	for rule, script := range map[string]string{
		"a removed target is silent, the others are not": `
			> listen
			> add 1 from=mail
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			> add 2 from=other
			< ADD 2
			< CURRENT 2
			< SNAPSHOT
			> remove 1
			< END-TARGET 1
			> set mail/a n=1
			> set other/a n=1
			< DOC other/a n=1 for 2
			< SNAPSHOT
			> remove 1
			> remove 2
			< END-TARGET 2
			> wait 1m
			> add 1 from=mail
			< ADD 1
			< DOC mail/a n=1 for 1
			< CURRENT 1
			< SNAPSHOT`,
		"once is removed when it is current": `
			> set mail/a n=1
			> listen
			> add 1 from=mail once
			< ADD 1
			< DOC mail/a n=1 for 1
			< CURRENT 1
			< SNAPSHOT
			< END-TARGET 1
			> set mail/b n=1`,
		"the server assigns the IDs once it is asked to": `
			> listen
			> add 1 from=mail
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			> add 0 from=mail
			< ADD 2
			< CURRENT 2
			< SNAPSHOT
			> add 7 from=mail
			< END-TARGET 7 InvalidArgument
			> add 0 from=other
			< ADD 3
			< CURRENT 3
			< SNAPSHOT
			> set mail/a n=1
			< DOC mail/a n=1 for 1 2
			< SNAPSHOT`,
		"an ID in use ends the stream": `
			> listen
			> add 1 from=mail
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			> add 1 from=other
			< END InvalidArgument`,
		"an ID below zero ends the stream": `
			> listen
			> add -1 from=mail
			< END InvalidArgument`,
		"a target that is wrong ends alone": `
			> listen
			> add 1 from=mail
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			> add 2 from=a/b
			< END-TARGET 2 InvalidArgument
			> add 3 docs=mail
			< END-TARGET 3 InvalidArgument
			> add 4 docs=mail/a,mail/
			< END-TARGET 4 InvalidArgument
			> set mail/a n=1
			< DOC mail/a n=1 for 1
			< SNAPSHOT`,
		"a client that closes its side ends the stream": `
			> listen
			> add 1 from=mail
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			> close
			< END OK`,
		"an idle stream gives a fresh token every 30 seconds": `
			> listen
			> add 1 from=mail
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			> wait 29999ms
			> wait 1ms
			< SNAPSHOT
			> wait 10s
			> set mail/a n=1
			< DOC mail/a n=1 for 1
			< SNAPSHOT
			> wait 20s
			> set other/a n=1
			> wait 9999ms
			> wait 1ms
			< SNAPSHOT`,
	} {
		t.Run(rule, func(t *testing.T) { runScript(t, Options{}, Faults{}, script) })
	}
}

func TestResume(t *testing.T) {
	const begun = `
			> set mail/a n=1; set mail/b n=2; set mail/c n=3
			> listen
			> add 1 from=mail atleast=n:1
			< ADD 1
			< DOC mail/a n=1 for 1
			< DOC mail/b n=2 for 1
			< DOC mail/c n=3 for 1
			< CURRENT 1
			< SNAPSHOT
			> keep T
			> stop
			`
	const gap = `
			> set mail/a n=5
			> set mail/a n=6
			> delete mail/b
			> set mail/c n=0
			> set mail/d n=4
			> set mail/e n=4
			> delete mail/e
			> set other/a n=1
			> listen
			`
	const missed = `
			< ADD 1
			< DOC mail/a n=6 for 1
			< DELETE mail/b for 1
			< REMOVE mail/c for 1
			< DOC mail/d n=4 for 1
			< FILTER 1 count 2
			< CURRENT 1
			< SNAPSHOT
			`
	const whole = `
			< ADD 1
			< RESET 1
			< DOC mail/d n=4 for 1
			< DOC mail/a n=6 for 1
			< CURRENT 1
			< SNAPSHOT
			`
	for rule, script := range map[string]string{
		"a token brings what was missed": begun + gap + `
			> add 1 from=mail atleast=n:1 token=T` + missed + `
			> set mail/b n=1
			< DOC mail/b n=1 for 1
			< SNAPSHOT`,
		"a read time brings what was missed": begun + gap + `
			> add 1 from=mail atleast=n:1 time=T` + missed,
		"a token is good twice, and under another ID": begun + `
			> listen
			> add 7 from=mail atleast=n:1 token=T
			< ADD 7
			< FILTER 7 count 3
			< CURRENT 7
			< SNAPSHOT
			> listen
			> add 8 from=mail atleast=n:1 token=T
			< ADD 8
			< FILTER 8 count 3
			< CURRENT 8
			< SNAPSHOT`,
		"a token is no longer than 30 minutes good": begun + `
			> wait 29m59s` + gap + `
			> add 1 from=mail atleast=n:1 token=T` + missed + `
			> stop
			> wait 2s
			> listen
			> add 1 from=mail atleast=n:1 token=T` + whole,
		"a read time is no longer than 30 minutes good": begun + `
			> wait 29m59s` + gap + `
			> add 1 from=mail atleast=n:1 time=T` + missed + `
			> stop
			> wait 2s
			> listen
			> add 1 from=mail atleast=n:1 time=T
			< END-TARGET 1 FailedPrecondition`,
		"what was given out can be made too old": begun + gap + `
			> expire
			> add 1 from=mail atleast=n:1 token=T` + whole + `
			> keep U
			> add 2 from=mail time=T
			< END-TARGET 2 FailedPrecondition
			> add 3 from=mail atleast=n:1 token=U
			< ADD 3
			< FILTER 3 count 2
			< CURRENT 3
			< SNAPSHOT`,
		"a token of another target is refused": begun + `
			> listen
			> add 1 from=mail token=T
			< END-TARGET 1 InvalidArgument
			> add 1 docs=mail/a token=T
			< END-TARGET 1 InvalidArgument
			> add 1 from=mail garbage
			< END-TARGET 1 InvalidArgument`,
		"a read time to come is refused": `
			> listen
			> add 1 from=mail future
			< END-TARGET 1 InvalidArgument`,
		"the token of a snapshot is good for all its targets": `
			> set mail/a n=1
			> listen
			> add 1 from=mail
			< ADD 1
			< DOC mail/a n=1 for 1
			< CURRENT 1
			< SNAPSHOT
			> add 2 docs=mail/b,mail/a
			< ADD 2
			< DOC mail/a n=1 for 2
			< DELETE mail/b for 2
			< CURRENT 2
			< SNAPSHOT
			> keep T
			> set mail/b n=1
			< DOC mail/b n=1 for 1 2
			< SNAPSHOT
			> listen
			> add 1 docs=mail/a,mail/b token=T
			< ADD 1
			< DOC mail/b n=1 for 1
			< FILTER 1 count 2
			< CURRENT 1
			< SNAPSHOT
			> add 2 from=mail token=T
			< ADD 2
			< DOC mail/b n=1 for 2
			< FILTER 2 count 2
			< CURRENT 2
			< SNAPSHOT`,
		"a target with a limit is compared with its past": `
			> set mail/a n=1; set mail/b n=2; set mail/c n=3
			> listen
			> add 1 from=mail order=n limit=2
			< ADD 1
			< DOC mail/a n=1 for 1
			< DOC mail/b n=2 for 1
			< CURRENT 1
			< SNAPSHOT
			> keep T
			> delete mail/a
			< DOC mail/c n=3 for 1
			< DELETE mail/a for 1
			< SNAPSHOT
			> listen
			> add 1 from=mail order=n limit=2 token=T
			< ADD 1
			< DOC mail/c n=3 for 1
			< DELETE mail/a for 1
			< FILTER 1 count 2
			< CURRENT 1
			< SNAPSHOT
			> set mail/d n=0
			< DOC mail/d n=0 for 1
			< REMOVE mail/c for 1
			< SNAPSHOT`,
		"an idle stream's token stays young": begun + `
			> listen
			> add 1 from=mail atleast=n:1 time=T
			< ADD 1
			< FILTER 1 count 3
			< CURRENT 1
			< SNAPSHOT
			> wait 59s
			< SNAPSHOT
			> keep U
			> stop
			> wait 29m30s
			> listen
			> add 1 from=mail atleast=n:1 token=U
			< ADD 1
			< FILTER 1 count 3
			< CURRENT 1
			< SNAPSHOT`,
	} {
		t.Run(rule, func(t *testing.T) { runScript(t, Options{}, Faults{}, script) })
	}
}

func TestResumeBeyondTheLog(t *testing.T) {
	runScript(t, Options{History: 3}, Faults{}, `
			> set mail/a n=1
			> listen
			> add 1 from=mail
			< ADD 1
			< DOC mail/a n=1 for 1
			< CURRENT 1
			< SNAPSHOT
			> keep T
			> stop
			> set mail/a n=2
			> set mail/a n=3
			> set mail/a n=4
			> listen
			> add 1 from=mail token=T
			< ADD 1
			< DOC mail/a n=4 for 1
			< FILTER 1 count 1
			< CURRENT 1
			< SNAPSHOT
			> stop
			> set mail/a n=5
			> listen
			> add 1 from=mail token=T
			< ADD 1
			< RESET 1
			< DOC mail/a n=5 for 1
			< CURRENT 1
			< SNAPSHOT
			> add 2 from=mail time=T
			< END-TARGET 2 FailedPrecondition`)
}

func TestListenFaults(t *testing.T) {
	const begun = `
			> listen
			> add 1 from=mail
			< ADD 1
			< CURRENT 1
			< SNAPSHOT
			`
	faults := Faults{
		Change: func(path string) ChangeFault {
			return map[string]ChangeFault{"mail/lost": Lost, "mail/twice": Repeated, "mail/late": Swapped}[path]
		},
		Stream: func(_ string, sent int) StreamFault {
			switch {
			case sent == 10:
				return StreamFault{Cut: codes.Unavailable}
			case sent > 10:
				t.Error("the stream goes on after its end")
			}
			return StreamFault{}
		},
	}
	for rule, script := range map[string]string{
		"a lost change is passed over": begun + `
			> set mail/lost n=1; set mail/a n=1
			< DOC mail/a n=1 for 1
			< SNAPSHOT
			> keep T
			> stop
			> listen
			> add 1 from=mail token=T
			< ADD 1
			< FILTER 1 count 2
			< CURRENT 1
			< SNAPSHOT`,
		"a repeated change comes twice": begun + `
			> set mail/twice n=1
			< DOC mail/twice n=1 for 1
			< DOC mail/twice n=1 for 1
			< SNAPSHOT`,
		"a swapped change comes after the next one": begun + `
			> set mail/late n=1; set mail/a n=1
			< DOC mail/a n=1 for 1
			< DOC mail/late n=1 for 1
			< SNAPSHOT
			> set mail/late n=2
			> set mail/b n=1
			< DOC mail/b n=1 for 1
			< DOC mail/late n=2 for 1
			< SNAPSHOT`,
		"a swapped change comes when nothing else does": begun + `
			> set mail/late n=1
			> wait 30s
			< DOC mail/late n=1 for 1
			< SNAPSHOT`,
		"a cut ends the stream after a message": begun + `
			> set mail/a n=1; set mail/b n=2; set mail/c n=3
			< DOC mail/a n=1 for 1
			< DOC mail/b n=2 for 1
			< DOC mail/c n=3 for 1
			< SNAPSHOT
			> set mail/a n=2; set mail/b n=2; set mail/c n=4; set mail/d n=5
			< DOC mail/a n=2 for 1
			< DOC mail/c n=4 for 1
			< DOC mail/d n=5 for 1
			< END Unavailable`,
	} {
		t.Run(rule, func(t *testing.T) { runScript(t, Options{}, faults, script) })
	}
}

// TestListenRequests sends what is wrong as a request, not as a target: that
// ends the stream.
func TestListenRequests(t *testing.T) {
	target := (&scripted{}).scriptTarget("1", []string{"from=mail"})
	for what, requests := range map[string][]*pb.ListenRequest{
		"no database":      {{TargetChange: &pb.ListenRequest_AddTarget{AddTarget: target}}},
		"a wrong database": {{Database: "demo", TargetChange: &pb.ListenRequest_AddTarget{AddTarget: target}}},
		"no target":        {{Database: standDatabase}},
		"two databases": {
			{Database: standDatabase, TargetChange: &pb.ListenRequest_RemoveTarget{RemoveTarget: 1}},
			{Database: "projects/demo/databases/other", TargetChange: &pb.ListenRequest_AddTarget{AddTarget: target}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStand(t, Options{}).listen()
			for _, r := range requests {
				s.send(r)
			}
			<-s.done
			if got := s.take(); !slices.Equal(got, []string{"END InvalidArgument"}) {
				t.Errorf("got %q", got)
			}
		})
	}
}
