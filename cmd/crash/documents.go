package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

const (
	maxBurst  = 200 // documents, added one handful after another
	handful   = 20
	bursts    = 25 // in a spell, or more
	pageSize  = 1000
	look      = time.Second          // between two looks at all documents
	oneSecond = float64(time.Second) // in nanoseconds
)

// add adds the documents from first up to last.
func (s *store) add(ctx context.Context, first, last int) error {
	r := &pb.CommitRequest{Database: database}
	for n := first; n < last; n++ {
		r.Writes = append(r.Writes, &pb.Write{
			Operation:       &pb.Write_Update{Update: &pb.Document{Name: documents + "/" + collection + "/" + docID(n), Fields: mailFields(n)}},
			CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}},
		})
	}
	if _, err := s.server.Commit(ctx, r); err != nil {
		return fmt.Errorf("add documents: %w", err)
	}
	return nil
}

// addAll adds the plan's documents, in bursts of 150 to 300 a second that fill the
// spell.
func (s *store) addAll(ctx context.Context, p plan, random *rand.Rand) error {
	began, burst := time.Now(), max(handful, min(maxBurst, p.docs/bursts))
	for n := 0; n < p.docs && ctx.Err() == nil; {
		rate := 150 + 150*random.Float64() // documents a second
		for end := min(n+burst, p.docs); n < end && ctx.Err() == nil; {
			next := min(n+handful, end)
			if err := s.add(ctx, n, next); err != nil {
				return err
			}
			n = next
			await(ctx, time.Duration(handful/rate*oneSecond))
		}
		due := time.Duration(float64(p.spell) * float64(n) / float64(p.docs))
		await(ctx, due-time.Since(began))
	}
	return nil
}

// look returns all documents' records. One that was final before and has been
// written since is a finding: nobody asks for a mail again here, so whoever wrote
// it had lost it.
func (s *store) look(ctx context.Context) (map[string]record, error) {
	all, token := map[string]record{}, ""
	for {
		answer, err := s.server.ListDocuments(ctx, &pb.ListDocumentsRequest{
			Parent: documents, CollectionId: collection, PageSize: pageSize, PageToken: token,
			Mask: &pb.DocumentMask{FieldPaths: []string{"delivery"}},
		})
		if err != nil {
			return nil, fmt.Errorf("list documents: %w", err)
		}
		for _, d := range answer.GetDocuments() {
			all[d.GetName()[strings.LastIndexByte(d.GetName(), '/')+1:]] = recordOf(d)
		}
		if token = answer.GetNextPageToken(); token == "" {
			s.compare(all)
			return all, nil
		}
	}
}

// compare looks for records that should not have changed.
func (s *store) compare(all map[string]record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, was := range s.finals {
		if is := all[id]; !is.updated.Equal(was.updated) && !is.updated.Before(was.updated) {
			s.journal.find(overwritten, id, "was %v, and then %v", was, is)
			delete(s.finals, id)
		}
	}
	for id, is := range all {
		if is.final() && !s.finals[id].updated.After(is.updated) {
			s.finals[id] = is
		}
	}
}

// watch looks at all documents again and again, until ctx ends.
func (s *store) watch(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := s.look(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// settle follows what the workers write until all documents are final, or there
// is no progress for so long. It returns them as they are then.
func (s *store) settle(ctx context.Context, patience time.Duration) (map[string]record, error) {
	limit, tick := time.NewTimer(patience), time.NewTicker(look)
	defer limit.Stop()
	defer tick.Stop()
	most := -1
	for {
		all, err := s.look(ctx)
		if err != nil {
			return nil, err
		}
		n := 0
		for _, r := range all {
			if r.final() {
				n++
			}
		}
		if n > most {
			s.journal.say("%d of %d documents are final", n, len(all))
			most = n
			limit.Reset(patience)
		}
		if n == len(all) {
			return all, nil
		}
		select {
		case <-limit.C:
			return all, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// final waits until documents are final, for the given time at most.
func (s *store) final(ctx context.Context, ids []string, longest time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for ctx.Err() == nil {
		all, err := s.look(ctx)
		if err == nil && !slices.ContainsFunc(ids, func(id string) bool { return !all[id].final() }) {
			return
		}
		await(ctx, look/2)
	}
}

// known puts what the store has into f.
func (s *store) known(f *facts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.held = maps.Clone(s.holds)
}
