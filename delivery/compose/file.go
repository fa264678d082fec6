package compose

import (
	"context"
	"errors"
	"io"
	"net"

	"postrider/delivery"
)

// Sizes of the pieces in which a file is read whose size its server does not tell.
const (
	firstPiece = 16 << 10 // bytes
	maxPiece   = 256 << 10
)

// file is an attachment's content that has to be fetched.
type file struct {
	where   string // the attachment's path in the document, for errors
	field   string // the attachment's field that names the file
	source  string // an http:, https: or gs: URL
	headers []delivery.Header
	stored  bool // in Cloud Storage
}

// fetch asks for a file and returns it with its size, in bytes. Where the server
// does not tell the size, the file is read for it first.
func (l *loader) fetch(ctx context.Context, f *file) (io.ReadCloser, int, error) {
	content, size, err := l.request(ctx, f)
	if err != nil {
		return nil, 0, l.fetchFailure(ctx, f, err)
	}
	if size < 0 {
		content, size, err = l.spool(ctx, f, content)
		if err != nil {
			return nil, 0, err
		}
	}
	l.budget -= int64(size)
	return content, size, nil
}

// request returns a file whose size is allowed, or -1 for one that isn't known.
func (l *loader) request(ctx context.Context, f *file) (io.ReadCloser, int, error) {
	ask := l.fetcher.open
	if f.stored {
		ask = l.storage.open
	}
	resp, err := ask(ctx, f)
	switch {
	case err != nil:
		return nil, 0, err
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		err = &statusError{resp.StatusCode}
	case resp.ContentLength > l.cap():
		err = errTooLarge
	default:
		return resp.Body, int(resp.ContentLength), nil
	}
	_ = resp.Body.Close()
	return nil, 0, err
}

// spooled is a file in memory. It counts as long as it is open.
type spooled struct {
	net.Buffers

	loader *loader
	size   int
}

func (s *spooled) Close() error {
	s.loader.fetched -= s.size
	s.Buffers = nil
	return nil
}

// spool reads a file into memory, in pieces, so that it is there once.
func (l *loader) spool(ctx context.Context, f *file, from io.ReadCloser) (io.ReadCloser, int, error) {
	defer func() { _ = from.Close() }()
	s := &spooled{loader: l}
	limit := int(l.cap())
	for next := firstPiece; ; next = min(2*next, maxPiece) {
		if err := l.take(ctx, s.size+next); err != nil {
			return nil, 0, err
		}
		piece := make([]byte, min(next, limit+1-s.size))
		n, err := readFull(from, piece)
		s.size += n
		s.Buffers = append(s.Buffers, piece[:n])
		switch {
		case s.size > limit:
			err = errTooLarge
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			l.fetched += s.size
			return s, s.size, nil
		}
		return nil, 0, l.fetchFailure(ctx, f, err)
	}
}

// fetchWhole reads a file into memory, as large as it is.
func (l *loader) fetchWhole(ctx context.Context, f *file) ([]byte, error) {
	content, size, err := l.fetch(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }()
	if err := l.take(ctx, size); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if n, err := readFull(content, data); n < size {
		return nil, l.fetchFailure(ctx, f, err)
	}
	l.fetched += size
	return data, nil
}

// fillGaps puts files into the gaps of a message: what has been read of one is
// encoded right into its place, so that it is in memory once.
func (l *loader) fillGaps(ctx context.Context, message []byte, gaps []gap) ([]byte, error) {
	if len(gaps) == 0 {
		return message, nil
	}
	var out []byte
	done := 0 // bytes of message that are in out
	for i, g := range gaps {
		content, size, err := l.fetch(ctx, g.file)
		if err != nil {
			return nil, err
		}
		out, err = l.grow(ctx, out, len(message)-done+base64Size(size), (len(gaps)-i-1)*base64Size(size))
		if err == nil {
			out = append(out, message[done:g.at]...)
			out, err = l.encode(ctx, out, g.file, content)
		}
		_ = content.Close()
		if err != nil {
			return nil, err
		}
		done = g.at
	}
	return append(out, message[done:]...), nil
}

// grow makes room in out for more bytes. Where it has to, it makes room as well for
// what may come if the files that follow are like this one: then out need not be
// copied for each of them.
func (l *loader) grow(ctx context.Context, out []byte, more, mayCome int) ([]byte, error) {
	size, limit := len(out)+more, int(l.options.MaxMessageBytes)
	if size > limit {
		return nil, tooLarge(int64(size), int64(limit))
	}
	size += len("\r\n") // what a message ends with
	if size <= cap(out) {
		return out, nil
	}
	size = max(size, min(size+mayCome, limit))
	if err := l.take(ctx, size); err != nil {
		return nil, err
	}
	l.written += size - cap(out)
	return append(make([]byte, 0, size), out...), nil
}

// encode reads a file that has been asked for into the message, as base64.
func (l *loader) encode(ctx context.Context, dst []byte, f *file, content io.Reader) ([]byte, error) {
	dst, err := appendBase64From(dst, content)
	if err != nil {
		return nil, l.fetchFailure(ctx, f, err)
	}
	return dst, nil
}

// readFull reads until p is full. An error of the reader is returned as it is: a
// body that was cut off ends otherwise than with io.EOF.
func readFull(r io.Reader, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := r.Read(p[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}
