package firestored

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// extras is what listens keep of a server.
type extras struct {
	generation atomic.Uint64  // of the resume tokens given out; 0 means that none was yet
	expired    atomic.Int64   // microseconds since the epoch: read times up to it are too old
	receivers  sync.WaitGroup // of the goroutines that receive for listens; Serve waits for them
}

// era returns the generation of the tokens given out at present. It begins with
// a random number: what another server gave out is too old here, not wrong.
func (e *extras) era() uint64 {
	if g := e.generation.Load(); g != 0 {
		return g
	}
	e.generation.CompareAndSwap(0, rand.Uint64()>>1|1)
	return e.generation.Load()
}

// ExpireTokens makes all resume tokens and read times given out until now too
// old for a listen: to a token it answers with a reset and the whole result, to
// a read time with FAILED_PRECONDITION.
func (s *Server) ExpireTokens() {
	s.extras.generation.Store(s.extras.era() + 1)
	s.extras.expired.Store(time.Now().UnixMicro())
}

// token is what a resume token says: the state of which targets, and at what
// time, its holder knows. The bytes are opaque to clients.
type token struct {
	era     uint64
	at      int64    // microseconds since the epoch
	targets []uint64 // keys of the targets (see target.key) that it is good for
}

const (
	tokenVersion = 1
	tokenHead    = 1 + 8 + 8 // version, era, time
)

// encode returns the token's bytes, which end in a checksum.
func (t token) encode() []byte {
	b := make([]byte, 0, tokenHead+8*len(t.targets)+crc32.Size)
	b = append(b, tokenVersion)
	b = binary.BigEndian.AppendUint64(b, t.era)
	b = binary.BigEndian.AppendUint64(b, uint64(t.at))
	for _, key := range t.targets {
		b = binary.BigEndian.AppendUint64(b, key)
	}
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// parseToken reads what encode wrote. It returns false for anything else.
func parseToken(b []byte) (t token, ok bool) {
	keys := len(b) - tokenHead - crc32.Size
	if keys < 0 || keys%8 != 0 || b[0] != tokenVersion {
		return token{}, false
	}
	b, sum := b[:tokenHead+keys], b[tokenHead+keys:]
	if crc32.ChecksumIEEE(b) != binary.BigEndian.Uint32(sum) {
		return token{}, false
	}
	t.era = binary.BigEndian.Uint64(b[1:])
	t.at = int64(binary.BigEndian.Uint64(b[9:]))
	for rest := range slices.Chunk(b[tokenHead:], 8) {
		t.targets = append(t.targets, binary.BigEndian.Uint64(rest))
	}
	return t, true
}

// targetKey is the key of a target's definition within its database.
func targetKey(database string, definition []byte) uint64 {
	sum := sha256.Sum256(slices.Concat([]byte(database), []byte{0}, definition))
	return binary.BigEndian.Uint64(sum[:])
}

// resumable reports whether what was given out for the time at can be resumed:
// whether that is no longer ago than the server's token age.
func (s *Server) resumable(at, now int64) bool {
	return now-at <= s.tokenAge().Microseconds()
}

// resumeToken reads the resume token of a target and returns its time. fresh is
// false where it is too old: the target is to be reset. A token of another
// target, or none at all, is an INVALID_ARGUMENT.
func (s *Server) resumeToken(b []byte, key uint64, now int64) (at int64, fresh bool, err error) {
	t, ok := parseToken(b)
	if !ok {
		return 0, false, invalid("Invalid resume token.")
	}
	if t.era != s.extras.era() {
		return 0, false, nil
	}
	if !slices.Contains(t.targets, key) {
		return 0, false, invalid("The resume token is of a different target.")
	}
	return t.at, s.resumable(t.at, now), nil
}

// resumeTime checks the read time that a target is to begin at. The wording of a
// time that is too old is the service's.
func (s *Server) resumeTime(t *timestamppb.Timestamp, now int64) (int64, error) {
	at, err := microseconds(t)
	if err != nil {
		return 0, err
	}
	if at > now {
		return 0, invalid("read_time cannot be in the future.")
	}
	if at <= s.extras.expired.Load() || !s.resumable(at, now) {
		return 0, errTooOld()
	}
	return at, nil
}

// errTooOld is the service's answer to a read time that it no longer has.
func errTooOld() error {
	return status.Error(codes.FailedPrecondition, "The requested snapshot version is too old.")
}
