package firestored

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// deliver sends an event until it is answered with a 2xx or is too old.
func (f *feed) deliver(ctx context.Context, c change) {
	deadline := time.Now().Add(f.Retention)
	for wait := f.MinBackoff; ; wait = min(2*wait, f.MaxBackoff) {
		err := f.send(ctx, c)
		if err == nil || ctx.Err() != nil {
			return
		}
		if time.Now().Add(wait).After(deadline) {
			f.server.log.Error().Err(err).Str("url", f.URL).Str("doc", c.path).Msg("event dropped: it was never answered")
			return
		}
		f.server.log.Debug().Err(err).Str("url", f.URL).Str("doc", c.path).Dur("took", wait).Msg("event will be sent again")
		pause(ctx, wait)
	}
}

// send makes one request. Anything but a 2xx within the deadline is an error.
func (f *feed) send(ctx context.Context, c change) error {
	select {
	case f.sending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-f.sending }()
	ctx, cancel := context.WithTimeout(ctx, f.AckDeadline)
	defer cancel()
	request, err := f.request(ctx, c)
	if err != nil {
		return err
	}
	answer, err := f.Client.Do(request)
	if err != nil {
		return fmt.Errorf("send an event: %w", err)
	}
	defer answer.Body.Close()
	// A body that is read leaves its connection for the next event.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxReply))
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("send an event: answered %s", answer.Status)
	}
	return nil
}

// maxReply is how much of an answer is read; nothing in it matters.
const maxReply = 64 << 10

// request builds the request of a change's event: a CloudEvent in the binary
// content mode of its HTTP binding.
func (f *feed) request(ctx context.Context, c change) (*http.Request, error) {
	body, contentType, err := f.body(c)
	if err != nil {
		return nil, fmt.Errorf("encode the event of %s: %w", c.path, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("send an event: %w", err)
	}
	r.Header.Set("Content-Type", contentType)
	for name, value := range f.attributes(c) {
		r.Header.Set("ce-"+name, headerValue(value))
	}
	return r, nil
}
