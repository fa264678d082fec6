package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

// look returns the view of what has the ID that was asked for: a mail, or a bulk
// retry, whose IDs no document can have. It costs one read.
func (a *API) look(ctx context.Context, c *call) (view, error) {
	if id, ok := bulk.ParseOperationID(c.args["id"]); ok {
		s, err := a.Bulk.Operation(ctx, id)
		if err != nil {
			return view{}, err
		}
		return viewOfBulk(s), nil
	}
	s, added, err := a.Mails.Status(ctx, c.args["id"])
	if err != nil {
		return view{}, err
	}
	return a.viewOf(s, added, a.Mails.Now()), nil
}

// answered returns a view in a dialect's words, and when to ask again.
func answered(v view, body any) reply {
	r := reply{status: http.StatusOK, header: http.Header{}, body: body}
	if !v.final() {
		r.header.Set("Retry-After", seconds(v.retry))
	}
	return r
}

// emailStatus answers with a SendStatusResult (Azure Communication Services
// Email, 2021-10-01-preview).
func (a *API) emailStatus(ctx context.Context, c *call) (reply, error) {
	v, err := a.look(ctx, c)
	if err != nil {
		return reply{}, err
	}
	words := [...]string{waiting: "queued", running: "queued", succeeded: "outForDelivery", failed: "dropped"}
	return answered(v, map[string]string{"messageId": v.id, "status": words[v.stage]}), nil
}

// emailResult is an EmailSendResult (Azure Communication Services Email,
// 2023-03-31).
type emailResult struct {
	ID     string   `json:"id"`
	Status string   `json:"status"`
	Error  *problem `json:"error,omitempty"`
}

// emailOperation answers with an EmailSendResult.
func (a *API) emailOperation(ctx context.Context, c *call) (reply, error) {
	v, err := a.look(ctx, c)
	if err != nil {
		return reply{}, err
	}
	return answered(v, emailResult{ID: v.id, Status: operationWord(v.stage), Error: v.problem()}), nil
}

// operationWord returns the status of a long-running operation of the e-mail
// dialect.
func operationWord(s stage) string {
	return [...]string{waiting: "NotStarted", running: "Running", succeeded: "Succeeded", failed: "Failed"}[s]
}

// problem returns why a view has failed, nil if it has not: one detail for each
// of its children that has.
func (v view) problem() *problem {
	if v.fault == nil {
		return nil
	}
	p := &problem{Code: v.fault.code, Message: v.fault.message}
	for _, c := range v.children {
		if c.fault != nil {
			p.Details = append(p.Details, problem{Code: c.fault.code, Message: c.fault.message, Target: c.name})
		}
	}
	return p
}

// phoneResult is a PhoneNumberOperation (Azure Communication Services Phone
// Numbers, 2022-12-01).
type phoneResult struct {
	ID         string   `json:"id"`
	Status     string   `json:"status"`
	Type       string   `json:"operationType"`
	Created    string   `json:"createdDateTime"`
	LastAction string   `json:"lastActionDateTime"`
	Resource   string   `json:"resourceLocation,omitempty"`
	Error      *problem `json:"error,omitempty"`
}

// phoneOperation answers with a PhoneNumberOperation. Where what it has brought
// about is to be found it says once it has.
func (a *API) phoneOperation(ctx context.Context, c *call) (reply, error) {
	v, err := a.look(ctx, c)
	if err != nil {
		return reply{}, err
	}
	words := [...]string{waiting: "notStarted", running: "running", succeeded: "succeeded", failed: "failed"}
	result := phoneResult{
		ID: v.id, Status: words[v.stage], Type: v.about,
		Created: written(v.created), LastAction: written(v.last), Error: v.problem(),
	}
	if v.stage == succeeded {
		result.Resource = c.base + "/mail/" + url.PathEscape(v.id)
	}
	r := answered(v, result)
	if result.Resource != "" {
		r.header.Set("Location", result.Resource)
	}
	return r, nil
}

// record answers with a document's delivery field, and the document's ID; of a
// bulk retry, with its report. It is what resourceLocation names.
func (a *API) record(ctx context.Context, c *call) (reply, error) {
	if id, ok := bulk.ParseOperationID(c.args["id"]); ok {
		s, err := a.Bulk.Operation(ctx, id)
		if err != nil {
			return reply{}, err
		}
		return reply{status: http.StatusOK, body: reportOf(s)}, nil
	}
	s, _, err := a.Mails.Status(ctx, c.args["id"])
	if err != nil {
		return reply{}, err
	}
	body, ok := delivery.JSON(s.Fields["delivery"]).(delivery.Fields)
	if !ok {
		body = delivery.Fields{}
	}
	body["id"] = s.ID
	return reply{status: http.StatusOK, body: body}, nil
}

// written returns a time as Azure writes it; "" for the zero time.
func written(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
