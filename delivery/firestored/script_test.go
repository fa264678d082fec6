package firestored

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// runScript plays a transcript in a synctest bubble: what follows ">" is done,
// and the lines after it that begin with "<" are all that must be received
// before everything rests. A stream's commands:
//
//	listen                       open a stream, in place of the one before
//	add ID key=value…            add a target: see scriptTarget
//	remove ID                    remove it
//	close                        close the client's side
//	stop                         end the stream
//	keep NAME                    remember the token and read time of the last snapshot
//
// The server's: "set PATH n=1 …" and "delete PATH", several of them in one
// commit with ";" between, "expire" and "wait DURATION".
func runScript(t *testing.T, o Options, faults Faults, script string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{stand: newStand(t, o), kept: map[string]*pb.TargetChange{}}
		s.server.SetFaults(faults)
		var command string
		var want []string
		check := func() {
			synctest.Wait()
			if got := s.received(); !slices.Equal(got, want) {
				t.Errorf("after %q:\n got %q\nwant %q", command, got, want)
			}
			want = nil
		}
		for line := range strings.Lines(script) {
			line = strings.TrimSpace(line)
			if expected, ok := strings.CutPrefix(line, "< "); ok {
				want = append(want, expected)
				continue
			}
			check()
			if next, ok := strings.CutPrefix(line, "> "); ok {
				command = next
				s.do(next)
			} else if line != "" {
				t.Fatalf("not a line of a script: %q", line)
			}
		}
		check()
	})
}

type scripted struct {
	*stand
	session *session
	kept    map[string]*pb.TargetChange
}

func (s *scripted) received() []string {
	if s.session == nil {
		return nil
	}
	return s.session.take()
}

func (s *scripted) do(command string) {
	s.t.Helper()
	words := strings.Fields(command)
	switch words[0] {
	case "listen":
		if s.session != nil {
			s.session.close()
		}
		s.session = s.listen()
	case "add":
		target := s.scriptTarget(words[1], words[2:])
		s.session.send(&pb.ListenRequest{Database: standDatabase, TargetChange: &pb.ListenRequest_AddTarget{AddTarget: target}})
	case "remove":
		s.session.send(&pb.ListenRequest{Database: standDatabase, TargetChange: &pb.ListenRequest_RemoveTarget{RemoveTarget: scriptID(words[1])}})
	case "stop":
		s.session.close()
		s.session = nil
	case "close":
		_ = s.session.stream.CloseSend()
	case "keep":
		s.kept[words[1]] = s.session.place()
	case "expire":
		s.server.ExpireTokens()
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(d)
	case "set", "delete":
		s.commit(scriptWrites(command)...)
	default:
		s.t.Fatalf("not a command: %q", command)
	}
}

func scriptWrites(command string) []*pb.Write {
	var writes []*pb.Write
	for step := range strings.SplitSeq(command, ";") {
		words := strings.Fields(step)
		if words[0] == "delete" {
			writes = append(writes, standDelete(words[1]))
		} else {
			writes = append(writes, standSet(words[1], words[2:]...))
		}
	}
	return writes
}

func scriptID(s string) int32 {
	n, _ := strconv.Atoi(s)
	return int32(n)
}

// scriptTarget reads a target: "docs=mail/a,mail/b", or a query by "from=mail",
// "parent=users/u", "all", "atleast=n:2", "order=n", "startat=2", "limit=2", "offset=1" and
// "select=n"; and "token=NAME" or "time=NAME" for one that is resumed, "once",
// "garbage" for a token of no target, "future" for a read time to come.
func (s *scripted) scriptTarget(id string, words []string) *pb.Target {
	target := &pb.Target{TargetId: scriptID(id)}
	q := &pb.StructuredQuery{}
	parent := standRoot
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "docs":
			names := strings.Split(standRoot+"/"+strings.ReplaceAll(value, ",", ","+standRoot+"/"), ",")
			target.TargetType = &pb.Target_Documents{Documents: &pb.Target_DocumentsTarget{Documents: names}}
		case "parent":
			parent += "/" + value
		case "token":
			target.ResumeType = &pb.Target_ResumeToken{ResumeToken: s.kept[value].GetResumeToken()}
		case "garbage":
			target.ResumeType = &pb.Target_ResumeToken{ResumeToken: []byte("garbage")}
		case "time":
			target.ResumeType = &pb.Target_ReadTime{ReadTime: s.kept[value].GetReadTime()}
		case "future":
			target.ResumeType = &pb.Target_ReadTime{ReadTime: timestamp(time.Now().Add(time.Microsecond).UnixMicro())}
		case "once":
			target.Once = true
		default:
			scriptQuery(q, key, value)
		}
	}
	if target.TargetType == nil {
		target.TargetType = &pb.Target_Query{Query: &pb.Target_QueryTarget{
			Parent:    parent,
			QueryType: &pb.Target_QueryTarget_StructuredQuery{StructuredQuery: q},
		}}
	}
	return target
}

func scriptQuery(q *pb.StructuredQuery, key, value string) {
	field := func(name string) *pb.StructuredQuery_FieldReference {
		return &pb.StructuredQuery_FieldReference{FieldPath: name}
	}
	n, _ := strconv.Atoi(value)
	switch key {
	case "from":
		q.From = []*pb.StructuredQuery_CollectionSelector{{CollectionId: value}}
	case "all":
		q.From[0].AllDescendants = true
	case "atleast":
		name, least, _ := strings.Cut(value, ":")
		q.Where = &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_FieldFilter{FieldFilter: &pb.StructuredQuery_FieldFilter{
			Field: field(name), Op: pb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL, Value: standInt(least),
		}}}
	case "order":
		q.OrderBy = []*pb.StructuredQuery_Order{{Field: field(value)}}
	case "startat":
		q.StartAt = &pb.Cursor{Values: []*pb.Value{standInt(value)}, Before: true}
	case "limit":
		q.Limit = wrapperspb.Int32(int32(n))
	case "offset":
		q.Offset = int32(n)
	case "select":
		q.Select = &pb.StructuredQuery_Projection{Fields: []*pb.StructuredQuery_FieldReference{field(value)}}
	}
}
