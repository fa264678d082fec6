package smtp

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// longestWait is the most that [Reply.SlowDown] believes.
const longestWait = time.Hour

// SlowDown says whether the server asks the sender to send less at a time, and
// for how long it is to wait; 0 if the reply does not say, and never more than
// an hour.
//
// Only 421, 432, 450, 451, 452 and 454 can ask that, by their enhanced status
// code or their words; both differ from server to server. What is known here is
// what Amazon SES ("454 Throttling failure", SES Developer Guide, "Errors related
// to the sending quotas"), Gmail (4.7.28, "unusual rate"; Google Workspace's "SMTP
// error reference"), Exchange Online (4.7.500 to 4.7.699, "server busy",
// "concurrent connections"; "Email non-delivery reports in Exchange Online"),
// Yahoo ([TSS04]; "SMTP Error Codes" of its Sender Hub), Postfix (anvil(8), "too
// much mail"), Exim, Sendmail, rspamd, cPanel, SendGrid and Mailgun say.
//
// What concerns one mailbox is not meant for the sender as a whole: greylisting,
// a full mailbox, a recipient who gets too much (4.2.x), a message with too many
// recipients (4.5.3). Nor is a server that
// closes a session because it was idle, has done its share, or is shut down.
func (r Reply) SlowDown() (wait time.Duration, slow bool) {
	switch r.Code {
	case 421, 432, 450, 451, 452, 454:
	default:
		return 0, false
	}
	words := r.words()
	if strings.HasPrefix(r.Enhanced, "4.2.") || r.Enhanced == "4.5.3" || containsAny(words, notSlowWords()) {
		return 0, false
	}
	if !slowCode(r.Enhanced) && !containsAny(words, slowWords()) && !yahooDeferral.MatchString(words) {
		return 0, false
	}
	return waitIn(words), true
}

// slowCode knows the enhanced status codes that mean it whatever the words:
// Gmail's and Exchange Online's.
func slowCode(enhanced string) bool {
	detail, ok := strings.CutPrefix(enhanced, "4.7.")
	n, err := strconv.Atoi(detail)
	return ok && err == nil && (n == 28 || n >= 500 && n <= 699)
}

// slowWords is a closed list, in lower case.
func slowWords() []string {
	return []string{
		"throttl", "slow down", "slower", "too fast", "too quickly", "too frequent",
		"rate limit", "rate-limit", "ratelimit", "limit rate", "unusual rate", "sending rate", "submission rate",
		"rate exceeded", "exceeded the rate", "exceeds the rate", "unexpected volume",
		"too many connections", "too many concurrent", "too many simultaneous", "too many open connections",
		"too many sessions", "too many smtp sessions", "too many new tls sessions", "trop de connexions",
		"connection limit", "connections limit", "concurrent connections", "thread limit", "maximum number of connections",
		"too much mail", "too many mail", "too many email", "too many e-mail", "too many messages", "too many requests",
		"too many recipients from", "too many auth", "too many login attempts",
		"sending limit", "send limit", "messaging limits", "message limit", "request limit", "recipient limit exceeded",
		"message quota", "sending quota", "quota for sending", "emails per hour", "messages per hour", "messages per minute",
		"server busy", "server is busy", "server too busy", "system is too busy", "insufficient system resources",
	}
}

// notSlowWords take precedence: they speak of one mailbox, or of one connection,
// which is only to be opened anew.
func notSlowWords() []string {
	return []string{
		"greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list",
		"user you are trying to contact", "mailbox full", "mailbox is full",
		"messages on this connection", "messages in this connection", "messages per connection", "messages for this connection",
		"messages in this session", "messages this session", "messages per session", "messages in one session",
	}
}

// The patterns are for what [Reply.words] returns.
var (
	yahooDeferral = regexp.MustCompile(`\[tss?\d+\]`)
	waitWithUnit  = regexp.MustCompile(`\b(?:again|retry|retrying|wait|reattempt|resume|(?:blocked|limited|deferred|throttled|suspended) for)\b[^0-9]{0,30}\b(\d{1,6}) ?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|days?)\b`)
	waitBare      = regexp.MustCompile(`\bretry[- ]after ?[:=]? ?(\d{1,6})\b`)
)

// waitIn finds how long to wait in words; 0 if they do not say.
func waitIn(words string) time.Duration {
	m := waitWithUnit.FindStringSubmatch(words)
	if m == nil {
		if m = waitBare.FindStringSubmatch(words); m == nil {
			return 0
		}
		m = append(m, "s") // as in HTTP (RFC 9110 §10.2.3)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	unit := time.Second
	switch m[2][0] {
	case 'm':
		unit = time.Minute
	case 'h':
		unit = time.Hour
	case 'd':
		unit = 24 * time.Hour
	}
	return min(time.Duration(min(n, int(longestWait/time.Second)))*unit, longestWait)
}

// words returns the text of all lines in lower case, as one line: without the
// enhanced status code, which is often repeated on each.
func (r Reply) words() string {
	var all []string
	for i := range r.Lines {
		for n, word := range strings.Fields(strings.ToLower(r.text(i))) {
			if n > 0 || enhancedCode(word) == "" {
				all = append(all, word)
			}
		}
	}
	return strings.Join(all, " ")
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}
