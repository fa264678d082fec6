package compose

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2/google"

	"postrider/delivery"
)

// readOnly is the OAuth 2.0 scope that reading objects takes.
const readOnly = "https://www.googleapis.com/auth/devstorage.read_only"

// storage reads gs:// attachments with the service's own identity, through the
// Cloud Storage JSON API.
type storage struct {
	buckets []string // that may be read
	base    string

	mu     sync.Mutex
	client *http.Client // nil until the first use
}

func newStorage(o Storage) *storage {
	s := &storage{base: o.BaseURL, client: o.Client, buckets: o.Buckets}
	if s.base == "" {
		s.base = "https://storage.googleapis.com"
	}
	return s
}

// connect finds the service's credentials at the first use. Without them the
// next use looks again.
func (s *storage) connect(ctx context.Context) (*http.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	// The client outlives this document, and with it the document's deadline.
	client, err := google.DefaultClient(context.WithoutCancel(ctx), readOnly)
	if err != nil {
		return nil, &delivery.Failure{
			Class:   delivery.Transient,
			Phase:   delivery.PhaseAttachment,
			Message: "Error: there are no credentials to read gs: attachments with",
			Explain: "gs: attachments are read with the service's own identity. Run it with a service account, or set GOOGLE_APPLICATION_CREDENTIALS.",
			Err:     err,
		}
	}
	client.Timeout = 5 * time.Minute // the context's deadline is shorter
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.client = client
	return client, nil
}

// open asks for the object that a gs:// URL names.
func (s *storage) open(ctx context.Context, wanted *file) (*http.Response, error) {
	_, name, _ := strings.Cut(wanted.source, "//")
	bucket, object, _ := strings.Cut(name, "/")
	if bucket == "" || object == "" || strings.Trim(bucket, ".") == "" || strings.Trim(object, ".") == "" {
		return nil, errAddress
	}
	if !slices.Contains(s.buckets, bucket) {
		return nil, refuse(delivery.PhaseAttachment, fmt.Sprintf("gs://%s is a bucket that attachments may not come from", bucket),
			"Whoever may add a mail document could have any object mailed to them that the service may read. Name the bucket in ATTACHMENT_ALLOW_BUCKETS if that is wanted.")
	}
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	address := s.base + "/storage/v1/b/" + url.PathEscape(bucket) + "/o/" + url.PathEscape(object) + "?alt=media"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errAddress
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		_ = resp.Body.Close()
		return nil, refuse(delivery.PhaseAttachment,
			fmt.Sprintf("gs://%s/%s cannot be read: status %d", bucket, object, resp.StatusCode),
			"The object does not exist, or the service may not read it. Check its name, and that the service account has the role roles/storage.objectViewer on the bucket.")
	}
	return resp, nil
}
