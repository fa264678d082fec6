package smtp

// dialogue is what a server has said of one envelope so far. A zero Reply is
// one that was not asked for yet.
type dialogue struct {
	mail  Reply
	rcpts []Reply // one for each recipient
	data  Reply
}

// step is what a dialogue leads to.
type step int

const (
	ask      step = iota // send the commands that are still missing
	transmit             // somebody is accepted and the server waits: send the message
	refuse               // the transaction failed; the connection is good for another
	abandon              // the transaction failed, and the connection cannot be used again
)

// judge says what to do next, and where the transaction failed if it did. It
// judges pipelined dialogues and those held one command at a time alike.
//
// An open DATA without anybody to deliver to is abandoned: see the package
// comment.
func (d dialogue) judge() (step, Stage) {
	switch {
	case d.mail.IsZero():
		return ask, ""
	case !d.mail.Positive():
		return d.fail(d.mail), StageMail
	}
	accepted := 0
	for _, r := range d.rcpts {
		switch {
		case r.IsZero():
			return ask, ""
		case r.Positive():
			accepted++
		case !isRefusal(r):
			return abandon, StageRcpt
		}
	}
	switch {
	case accepted == 0:
		return d.fail(d.rcpts...), StageRcpt
	case d.data.IsZero():
		return ask, ""
	case d.data.Code == 354:
		return transmit, ""
	default:
		return d.fail(d.data), StageData
	}
}

// fail tells a refusal after which the session goes on from one that ends it.
func (d dialogue) fail(refusals ...Reply) step {
	for _, r := range refusals {
		if !isRefusal(r) || r.closing() {
			return abandon
		}
	}
	if !d.data.IsZero() && !isRefusal(d.data) {
		return abandon
	}
	return refuse
}

// closing says that the server announced to end the session.
func (d dialogue) closing() bool {
	for _, r := range d.rcpts {
		if r.closing() {
			return true
		}
	}
	return d.mail.closing() || d.data.closing()
}

// open says that a transaction was begun and not ended by DATA, so that the
// next one needs RSET first (RFC 5321 §4.1.1.5).
func (d dialogue) open() bool {
	for _, r := range d.rcpts {
		if r.Positive() {
			return true
		}
	}
	return d.mail.Positive()
}

// isRefusal says that r is an answer of no: 1yz and 3yz are nonsense to the
// commands of an envelope.
func isRefusal(r Reply) bool { return r.Temporary() || r.Permanent() }
