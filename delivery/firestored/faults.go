package firestored

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Faults are what a test breaks: hooks that are asked at each point where
// something can go wrong. A nil hook breaks nothing there. They are called from
// many goroutines at once, and what they decide on is their own business.
//
// A method is named without its service, as in "Commit"; a document by its path
// below the database's root, as in "mail/abc".
type Faults struct {
	// Call is asked once for each unary call.
	Call func(method string, request any) CallFault
	// Stream is asked when a server's stream opens (Listen, RunQuery,
	// RunAggregationQuery, BatchGetDocuments), with sent 0, and again after each
	// message that went out.
	Stream func(method string, sent int) StreamFault
	// Change is asked for each change of a document that a listen comes by in the
	// log, whether or not a target wants it. What a target is sent at its start is
	// not asked about, what it missed before it was resumed is.
	Change func(path string) ChangeFault
	// Event is asked once for each CloudEvent.
	Event func(path string) EventFault
}

// CallFault is what happens to a unary call. The zero value lets it pass.
type CallFault struct {
	Refuse codes.Code    // answered without applying the call; OK does not refuse
	Delay  time.Duration // before the call is applied, even if its caller gives up meanwhile
	Twice  bool          // apply it twice, as a request that was sent again; the second answer counts
	Answer codes.Code    // answered instead, once the call is applied; OK keeps the true answer
	Late   time.Duration // before the answer, once the call is applied
}

// StreamFault is what happens to a stream. The zero value lets it go on.
type StreamFault struct {
	Cut    codes.Code // ends the stream with this code; OK does not
	Silent bool       // nothing more is sent, and the stream stays open until its caller ends it
}

// ChangeFault is what happens to a document's change on its way to one listen.
type ChangeFault int

const (
	Intact   ChangeFault = iota // it is sent as it is
	Lost                        // never sent, though resume tokens move past it
	Repeated                    // sent twice
	Swapped                     // sent after the change that follows it, at the latest after an idle interval; until then tokens move past it
)

// EventFault is what happens to a CloudEvent. The zero value lets it pass.
type EventFault struct {
	Lose   bool          // never sent
	Copies int           // sent that many times more, each until it is answered
	Delay  time.Duration // before it is first sent, while others overtake it
}

// SetFaults breaks what f says from now on, in streams that are open too. The
// zero value mends everything.
func (s *Server) SetFaults(f Faults) { s.faults.Store(&f) }

func (s *Server) callFault(method string, request any) CallFault {
	if f := s.faults.Load(); f != nil && f.Call != nil {
		return f.Call(method, request)
	}
	return CallFault{}
}

func (s *Server) streamFault(method string, sent int) StreamFault {
	if f := s.faults.Load(); f != nil && f.Stream != nil {
		return f.Stream(method, sent)
	}
	return StreamFault{}
}

func (s *Server) changeFault(path string) ChangeFault {
	if f := s.faults.Load(); f != nil && f.Change != nil {
		return f.Change(path)
	}
	return Intact
}

func (s *Server) eventFault(path string) EventFault {
	if f := s.faults.Load(); f != nil && f.Event != nil {
		return f.Event(path)
	}
	return EventFault{}
}

// unaryFaults is the interceptor of unary calls.
func (s *Server) unaryFaults(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	fault := s.callFault(shortName(info.FullMethod), req)
	if fault == (CallFault{}) {
		return handler(ctx, req)
	}
	if fault.Refuse != codes.OK {
		return nil, faultError(fault.Refuse)
	}
	pause(ctx, fault.Delay)
	// What is on its way is applied, whether or not anybody still waits.
	applied := context.WithoutCancel(ctx)
	if fault.Twice {
		_, _ = handler(applied, req) // the first answer is the one that is lost
	}
	answer, err := handler(applied, req)
	pause(ctx, fault.Late)
	if ctx.Err() != nil { // its caller has given up, and may be about to see that
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if fault.Answer != codes.OK {
		return nil, faultError(fault.Answer)
	}
	return answer, err
}

// streamFaults is the interceptor of streams.
func (s *Server) streamFaults(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	f := &faultyStream{ServerStream: ss, server: s, method: shortName(info.FullMethod)}
	if err := f.ask(); err != nil {
		return err
	}
	return handler(srv, f)
}

// faultyStream sends until it is told to fail; then its handler ends with the
// error of the send. Handlers send from one goroutine.
type faultyStream struct {
	grpc.ServerStream
	server *Server
	method string
	sent   int
	fault  error // why nothing more is sent
}

// SendMsg sends m and then asks whether that was the last message.
func (f *faultyStream) SendMsg(m any) error {
	if f.fault != nil {
		return f.fault
	}
	if err := f.ServerStream.SendMsg(m); err != nil {
		return err
	}
	f.sent++
	return f.ask()
}

// ask returns the error that ends the stream, if one does. A silent stream does
// not return before its caller ends it.
func (f *faultyStream) ask() error {
	fault := f.server.streamFault(f.method, f.sent)
	switch {
	case fault.Cut != codes.OK:
		f.fault = faultError(fault.Cut)
	case fault.Silent:
		<-f.Context().Done()
		f.fault = status.FromContextError(f.Context().Err()).Err()
	}
	return f.fault
}

func faultError(c codes.Code) error {
	return status.Errorf(c, "a fault that a test asked for: %v", c)
}

// shortName returns the name of a method without its service.
func shortName(fullMethod string) string {
	return fullMethod[strings.LastIndexByte(fullMethod, '/')+1:]
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
