package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postrider/config"
	"postrider/delivery"
	"postrider/delivery/queue"
)

// list is the command that prints a line for each document in a state, or whose
// last attempt came to an end of a kind.
func (p program) list(ctx context.Context, args []string) error {
	set := p.flags("list", "postrider list prints a line for each mail document, in the order of their IDs.", nil)
	state := set.String("state", "", "only those in this state: "+strings.Join(stateNames(), ", "))
	class := set.String("class", "", "only those whose last outcome is of this class: "+strings.Join(classNames(), ", "))
	limit := set.Int("limit", 50, "how many at most; 0 for all")
	asJSON := set.Bool("json", false, "print a JSON object with id and delivery for each, one a line")
	if err := parse(set, args); err != nil {
		return err
	}
	f := queue.Filter{State: delivery.State(strings.ToUpper(*state)), Class: delivery.Class(strings.ToLower(*class))}
	switch {
	case f.State != delivery.None && !slices.Contains(stateNames(), string(f.State)):
		return &usageError{fmt.Sprintf("postrider list: --state is %q: use one of %s", *state, strings.Join(stateNames(), ", "))}
	case f.Class != "" && !slices.Contains(classNames(), string(f.Class)):
		return &usageError{fmt.Sprintf("postrider list: --class is %q: use one of %s", *class, strings.Join(classNames(), ", "))}
	case *limit < 0 || *limit > maxListed:
		return &usageError{fmt.Sprintf("postrider list: --limit is %d: use a number up to %d, or 0 for all", *limit, maxListed)}
	}
	_, q, err := p.openToRead(ctx)
	if err != nil {
		return err
	}
	return errors.Join(p.listDocuments(ctx, q, f, *limit, *asJSON), q.Close())
}

// maxListed is the highest limit of a list.
const maxListed = 1_000_000

func stateNames() []string {
	return []string{string(delivery.Pending), string(delivery.Processing), string(delivery.Retry), string(delivery.Success), string(delivery.Error)}
}

func classNames() []string {
	return []string{
		string(delivery.Delivered), string(delivery.Transient), string(delivery.Permanent), string(delivery.Unknown), string(delivery.Incomplete),
	}
}

// openToRead opens the mail collection for a command that sends nothing.
func (p program) openToRead(ctx context.Context) (config.Config, *queue.Queue, error) {
	c, err := config.LoadFirestore(p.collectionDefault)
	if err != nil {
		return c, nil, err
	}
	q, err := openQueue(ctx, c, newLogger(p.err, c.LogLevel))
	return c, q, err
}

// listDocuments prints the documents as they come. It asks for one more than it
// prints, to tell whether there are more.
func (p program) listDocuments(ctx context.Context, q *queue.Queue, f queue.Filter, limit int, asJSON bool) error {
	if limit > 0 {
		f.Limit = limit + 1
	}
	n, more := 0, false
	err := q.List(ctx, f, func(_ context.Context, s delivery.Snapshot) error {
		if more = n == limit && limit > 0; more {
			return nil
		}
		if n++; asJSON {
			return p.printJSON(delivery.Fields{"id": s.ID, "delivery": s.Fields["delivery"]}, "")
		}
		if n == 1 {
			fmt.Fprintf(p.out, listLine, "ID", "STATE", "CLASS", "ATTEMPTS", "ENDED", "PHASE")
		}
		p.printLine(s)
		return nil
	})
	switch {
	case err != nil:
		return err
	case more:
		fmt.Fprintf(p.err, "there are more than these %d: --limit 0 prints all\n", n)
	case n == 0:
		fmt.Fprintln(p.err, "there is no such document")
	}
	return nil
}

// listLine has columns for IDs of Firestore's making, which have 20 characters.
const listLine = "%-20s  %-10s  %-10s  %-8s  %-24s  %s\n"

// printLine prints the line of one document, a hyphen for what it has not got.
func (p program) printLine(s delivery.Snapshot) {
	record, _ := s.Fields["delivery"].(delivery.Fields)
	outcome, _ := record["outcome"].(delivery.Fields)
	fmt.Fprintf(p.out, listLine, oneLine(s.ID), orHyphen(record["state"]), orHyphen(outcome["class"]),
		orHyphen(record["attempts"]), orHyphen(record["endTime"]), orHyphen(outcome["phase"]))
}

func orHyphen(v any) string {
	if text := oneLine(shown(v)); text != "" {
		return text
	}
	return "-"
}

// timeShown is RFC 3339 with milliseconds.
const timeShown = "2006-01-02T15:04:05.000Z07:00"

// shown returns a value of a document in words; "" for none.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case time.Time:
		return v.UTC().Format(timeShown)
	}
	if b, err := jsonOf(v, ""); err == nil {
		return strings.TrimSpace(string(b))
	}
	return fmt.Sprint(v)
}
