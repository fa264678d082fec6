package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

// Bulk is the bulk retries as the API sees them.
type Bulk interface {
	// Accept has a bulk retry worked, by this instance or another, and returns its
	// ID: as its document is called.
	Accept(ctx context.Context, r bulk.Request) (id string, err error)
	// Operation returns the document of a bulk retry; delivery.ErrGone if there is
	// none. It costs one read.
	Operation(ctx context.Context, id string) (delivery.Snapshot, error)
}

// When to ask again how a bulk retry fares.
const (
	bulkPace    = 2 * time.Second // at first
	maxBulkPace = time.Minute
)

// accepted is what an operation is begun with.
type accepted struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

// retry takes in a bulk retry.
func (a *API) retry(ctx context.Context, c *call) (reply, error) {
	if len(c.body) > bulk.MaxBody {
		return reply{}, tooLarge(bulk.MaxBody, "name fewer documents, or use a filter")
	}
	wish, err := bulk.ReadRequest(c.body)
	if f, ok := errors.AsType[*bulk.Fault](err); ok {
		return reply{}, bad(f.Target, f.Message)
	}
	if err != nil {
		return reply{}, err
	}
	id, err := a.Bulk.Accept(ctx, wish)
	if err != nil {
		return reply{}, err
	}
	id = bulk.OperationID(id)
	return reply{
		status: http.StatusAccepted,
		header: http.Header{
			"Operation-Location": {c.base + "/operations/" + url.PathEscape(id)},
			"Retry-After":        {seconds(bulkPace)},
		},
		body: accepted{ID: id, Status: operationWord(waiting)},
	}, nil
}

// bulkRest returns when asking again about a bulk retry makes sense: when half of
// what is left of it will be done, if it goes on as it went so far.
func bulkRest(o bulk.Operation) time.Duration {
	if o.Counts.Seen <= 0 {
		return bulkPace
	}
	each := o.Last.Sub(o.Started).Seconds() / float64(o.Counts.Seen)
	left := time.Duration(each * float64(o.Total-o.Counts.Seen) / 2 * float64(time.Second))
	return max(bulkPace, min(left, maxBulkPace))
}

// viewOfBulk returns the view of a bulk retry. What it left out with reason, as a
// mail that waits already, is done. Of what is to come only the documents that were
// named are known.
func viewOfBulk(s delivery.Snapshot) view {
	o := bulk.ReadOperation(s)
	v := view{
		id: bulk.OperationID(o.ID), about: "retryMails",
		created: o.Created, started: o.Started, last: o.Last, ended: o.Ended, percent: o.Percent(), retry: bulkRest(o),
	}
	switch o.State {
	case bulk.NotStarted:
		v.stage = waiting
	case bulk.Running:
		v.stage = running
	case bulk.Succeeded:
		v.stage = succeeded
	default:
		v.stage = failed
	}
	if v.stage == failed {
		v.fault = &fault{codeBroken, "the operation could not be worked; ask for the retry again"}
		if p := o.Problem; p != nil && p.Code != "" && p.Message != "" {
			v.fault = &fault{p.Code, p.Message}
		}
	}
	for _, r := range o.Results {
		part := child{name: r.ID, stage: succeeded}
		if r.Status == bulk.Refused {
			part.stage, part.fault = failed, &fault{string(r.Code), r.Message()}
		}
		v.children = append(v.children, part)
	}
	if !v.final() {
		for _, id := range o.Request.MessageIDs[min(len(o.Results), len(o.Request.MessageIDs)):] {
			v.children = append(v.children, child{name: id, stage: running})
		}
	}
	return v
}

// report is what has come of a bulk retry, with the fields of its document that
// mean something to others.
type report struct {
	ID        string   `json:"id"`
	State     string   `json:"state"`
	DryRun    bool     `json:"dryRun"`
	Created   string   `json:"createdTime"`
	Started   string   `json:"startTime,omitempty"`
	Ended     string   `json:"endTime,omitempty"`
	Total     int      `json:"total"` // to be looked at; of a filter an estimate
	Seen      int      `json:"seen"`
	Matched   int      `json:"matched"`
	Moved     int      `json:"moved"`
	Skipped   int      `json:"skipped"`
	Failed    int      `json:"failed"`
	Errors    []row    `json:"errors"`    // the first
	Documents []row    `json:"documents"` // the first
	Problem   *problem `json:"error,omitempty"`
}

// row is what has come of one document.
type row struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// reportOf returns what has come of a bulk retry.
func reportOf(s delivery.Snapshot) report {
	o := bulk.ReadOperation(s)
	r := report{
		ID: bulk.OperationID(o.ID), State: string(o.State), DryRun: o.Request.DryRun,
		Created: written(o.Created), Started: written(o.Started), Ended: written(o.Ended),
		Total: o.Total, Seen: o.Counts.Seen, Matched: o.Counts.Matched,
		Moved: o.Counts.Moved, Skipped: o.Counts.Skipped, Failed: o.Counts.Refused,
		Errors: rowsOf(o.Errors), Documents: rowsOf(o.Results),
	}
	if o.Problem != nil {
		r.Problem = &problem{Code: o.Problem.Code, Message: o.Problem.Message}
	}
	return r
}

func rowsOf(results []bulk.Result) []row {
	list := make([]row, len(results))
	for i, r := range results {
		list[i] = row{ID: r.ID, Status: string(r.Status), Code: string(r.Code), Message: r.Message()}
	}
	return list
}
