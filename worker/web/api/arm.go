package api

import (
	"context"
	"net/url"
)

// armResult is an OperationStatusResult (Azure Resource Manager, common types).
type armResult struct {
	ID         string      `json:"id,omitempty"`
	Name       string      `json:"name"`
	Status     string      `json:"status"`
	Percent    *int        `json:"percentComplete,omitempty"`
	Start      string      `json:"startTime,omitempty"`
	End        string      `json:"endTime,omitempty"`
	Operations []armResult `json:"operations,omitempty"`
	Error      *armError   `json:"error,omitempty"`
}

// armError is an ErrorDetail (Azure Resource Manager, common types).
type armError struct {
	problem
	Additional []armInfo `json:"additionalInfo,omitempty"`
}

// armInfo is an ErrorAdditionalInfo.
type armInfo struct {
	Type string         `json:"type"`
	Info map[string]any `json:"info"`
}

// operationStatus answers with an OperationStatusResult: one operation for each
// recipient of a mail, or for each document of a bulk retry.
func (a *API) operationStatus(ctx context.Context, c *call) (reply, error) {
	v, err := a.look(ctx, c)
	if err != nil {
		return reply{}, err
	}
	prefix := c.request.URL.EscapedPath()
	result := armResult{
		ID: prefix, Name: v.id, Status: armWord(v.stage), Percent: &v.percent,
		Start: written(v.started), End: written(v.ended),
	}
	for _, child := range v.children {
		part := armResult{Name: child.name, Status: armWord(child.stage), ID: prefix + "/operations/" + url.PathEscape(child.name)}
		if child.fault != nil {
			part.Error = &armError{problem: problem{Code: child.fault.code, Message: child.fault.message, Target: child.name}}
		}
		result.Operations = append(result.Operations, part)
	}
	if p := v.problem(); p != nil {
		result.Error = &armError{problem: *p}
		result.Error.Additional = []armInfo{{Type: "Attempts", Info: map[string]any{"attempts": v.attempts}}}
	}
	return answered(v, result), nil
}

// armWord returns the status of a stage.
func armWord(s stage) string {
	return [...]string{waiting: "InProgress", running: "InProgress", succeeded: "Succeeded", failed: "Failed"}[s]
}
