package firestored

import (
	"fmt"
	"sync"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestNoUpdateIsLost counts up one document from many clients at once: by
// transforms, by transactions and by writes on condition of the update time.
func TestNoUpdateIsLost(t *testing.T) {
	const clients, rounds = 6, 15
	for name, once := range map[string]func(*rig) error{
		"transforms":   func(r *rig) error { _, err := r.commit(r.transform("c/n", increment("n", integer(1)))); return err },
		"transactions": (*rig).countInTransaction,
		"queries":      (*rig).countByQuery,
		"conditions":   (*rig).countOnCondition,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			r.mustCommit(r.set("c/n", fields{"n": integer(0)}))
			var running sync.WaitGroup
			for range clients {
				running.Go(func() {
					for done := 0; done < rounds; {
						switch err := once(r); status.Code(err) {
						case codes.OK:
							done++
						case codes.Aborted, codes.FailedPrecondition:
						default:
							t.Error(err)
							return
						}
					}
				})
			}
			running.Wait()
			if d := r.get("c/n"); !sameFields(d, fields{"n": integer(clients * rounds)}) {
				t.Errorf("counted to %v, want %d", d.GetFields()["n"], clients*rounds)
			}
		})
	}
}

func (r *rig) countInTransaction() error {
	tx := r.begin(nil)
	d, err := r.within(tx, "c/n")
	if err != nil {
		return err
	}
	return r.end(tx, r.set("c/n", fields{"n": integer(int(d.GetFields()["n"].GetIntegerValue()) + 1)}))
}

func (r *rig) countByQuery() error {
	tx := r.begin(nil)
	_, answers, err := r.find(&pb.RunQueryRequest{QueryType: structured(selectFrom("c")), ConsistencySelector: &pb.RunQueryRequest_Transaction{Transaction: tx}})
	if err != nil {
		return err
	}
	n := answers[0].GetDocument().GetFields()["n"].GetIntegerValue()
	return r.end(tx, r.set("c/n", fields{"n": integer(int(n) + 1)}))
}

func (r *rig) countOnCondition() error {
	d := r.get("c/n")
	w := r.update("c/n", fields{"n": integer(int(d.GetFields()["n"].GetIntegerValue()) + 1)}, "n")
	w.CurrentDocument = &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: d.GetUpdateTime()}}
	response, err := r.batch(w)
	if err != nil {
		return err
	}
	return status.ErrorProto(response.GetStatus()[0])
}

// TestReadersSeeWholeCommits moves amounts between documents while readers add
// them up: by a query, a count, a transaction and in the past.
func TestReadersSeeWholeCommits(t *testing.T) {
	const accounts, total = 20, 20 * 100
	r := newRig(t, Options{})
	var writes []*pb.Write
	for i := range accounts {
		writes = append(writes, r.set(fmt.Sprintf("c/%02d", i), fields{"n": integer(total / accounts), "even": boolean(true)}))
	}
	r.mustCommit(writes...)
	var moving, reading sync.WaitGroup
	stop := make(chan struct{})
	for worker := range 3 {
		moving.Go(func() {
			for i := worker; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				from, to := fmt.Sprintf("c/%02d", i%accounts), fmt.Sprintf("c/%02d", (i*7+3)%accounts)
				r.mustCommit(r.transform(from, increment("n", integer(-i%5))), r.transform(to, increment("n", integer(i%5))),
					r.remove(fmt.Sprintf("c/x%d", i-3)), r.set(fmt.Sprintf("c/x%d", i), fields{"n": integer(0)}))
			}
		})
	}
	q := selectFrom("c")
	q.Where = where("even", pb.StructuredQuery_FieldFilter_EQUAL, boolean(true))
	for range 2 {
		reading.Go(func() {
			for range 100 {
				r.checkTotal(q, total)
				if n := r.count(q, 0); n != accounts {
					t.Errorf("counted %d", n)
				}
			}
		})
	}
	reading.Wait()
	close(stop)
	moving.Wait()
	if err := r.checkIndex("c", "even"); err != nil {
		t.Error(err)
	}
}

func (r *rig) checkTotal(q *pb.StructuredQuery, want int64) {
	for _, q := range []*pb.StructuredQuery{q, selectFrom("c")} {
		_, answers, err := r.find(&pb.RunQueryRequest{QueryType: structured(q)})
		if err != nil {
			r.Error(err)
			return
		}
		var sum int64
		for _, a := range answers {
			sum += a.GetDocument().GetFields()["n"].GetIntegerValue()
		}
		if sum != want {
			r.Errorf("the sum is %d, want %d", sum, want)
		}
	}
}
