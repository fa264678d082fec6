package smtp

import (
	"testing"
	"time"
)

func TestSlowDown(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]struct {
		slow bool
		wait time.Duration
	}{
		// Amazon SES
		"454 Throttling failure: Maximum sending rate exceeded.": {slow: true},
		"454 Throttling failure: Daily message quota exceeded.":  {slow: true},
		"454 4.7.0 Temporary authentication failure":             {},
		"454 4.7.0 TLS not available due to local problem":       {},
		// Gmail
		"421-4.7.28 [192.0.2.1] Our system has detected an unusual rate of\r\n421-4.7.28 unsolicited mail originating from your IP address. To protect our\r\n421-4.7.28 users from spam, mail sent from your IP address has been temporarily\r\n421 4.7.28 rate limited. - gsmtp": {slow: true},
		"421-4.7.0 [192.0.2.1] Our system has detected an unusual\r\n421-4.7.0 rate of unsolicited mail originating from your IP address.\r\n421 4.7.0 - gsmtp":                                                                                                                    {slow: true},
		"450-4.2.1 The user you are trying to contact is receiving mail at a rate that\r\n450-4.2.1 prevents additional messages from being delivered. Please resend your\r\n450 4.2.1 message at a later time. - gsmtp":                                                           {},
		"452-4.2.2 The recipient's inbox is out of storage space.\r\n452 4.2.2 - gsmtp":                                              {},
		"421 4.7.0 Try again later, closing connection. (EHLO) - gsmtp":                                                              {},
		"421 4.4.5 Server busy, try again later. - gsmtp":                                                                            {slow: true},
		"454 4.7.0 Too many login attempts, please try again later. - gsmtp":                                                         {slow: true},
		"451 4.4.2 Timeout - closing connection. - gsmtp":                                                                            {},
		"452 4.5.3 Your message has too many recipients. For more information regarding Google's sending limits, please visit https": {},
		// Exchange Online
		"451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)":                                                           {slow: true},
		"451 4.7.550 Access denied, please try again later":                                                                                    {slow: true},
		"451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.":                                      {slow: true},
		"432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.":                       {slow: true},
		"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded [Hostname=x]":                                                           {slow: true},
		"421 4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel":                            {slow: true},
		"421 4.4.2 Message submission rate for this client has exceeded the configured limit":                                                  {slow: true},
		"452 4.3.1 Insufficient system resources (UsedVersionBuckets[C:\\db])":                                                                 {slow: true},
		"452 4.3.1 Insufficient system storage":                                                                                                {},
		"451 4.7.700 not in the range":                                                                                                         {},
		"421 RP-001 (BAY0) Unfortunately, some messages from 192.0.2.1 weren't sent. The IP rate limit for this server has been exceeded.":     {slow: true},
		"451 4.3.0 Temporary server error. Please try again later. PRX2":                                                                       {},
		"450 4.1.8 <a@b.test>: Sender address rejected: Domain not found":                                                                      {},
		"421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://": {slow: true},
		"421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.":                                {slow: true},
		// Postfix
		"450 4.7.1 Error: too much mail from 192.0.2.1":                                     {slow: true},
		"421 4.7.0 mx.test Error: too many connections from 192.0.2.1":                      {slow: true},
		"450 4.7.1 Error: too many recipients from 192.0.2.1":                               {slow: true},
		"450 4.7.1 Error: too many AUTH commands from 192.0.2.1":                            {slow: true},
		"421 4.7.0 mx.test Error: too many errors":                                          {},
		"421 4.4.2 mx.test Error: timeout exceeded":                                         {},
		"452 4.5.3 Error: too many recipients":                                              {},
		"450 4.7.1 Client host rejected: cannot find your hostname":                         {},
		"451 4.7.1 <mx.test[192.0.2.1]>: Client host rejected: Please try again slower":     {slow: true},
		"421 4.3.2 All server ports are busy":                                               {},
		"421 4.3.2 Service shutting down":                                                   {},
		"450 4.2.0 <ada@rcpt.test>: Recipient address rejected: Greylisted":                 {},
		"451 4.7.1 Greylisting in action, please come back later, try again in 300 seconds": {},
		"450 4.7.1 Grey-listed, throttled for now":                                          {},
		"421 Service not available, closing transmission channel":                           {},
		"421":                            {},
		"421 4.4.1 Connection timed out": {},
		"421 4.7.0 Too many messages on this connection":                                                                  {},
		"452 4.3.2 Connection rate limit exceeded.":                                                                       {slow: true},
		"421 Too many concurrent SMTP connections from this IP address; please try again later.":                          {slow: true},
		"451 4.7.1 Ratelimit \"user\" exceeded":                                                                           {slow: true},
		"451 Domain x.test has exceeded the max emails per hour (150/150 (100%)) allowed.":                                {slow: true},
		"421 4.7.1 Trop de connexions, veuillez verifier votre configuration. OFR004_104":                                 {slow: true},
		"450 Requested mail action not taken: mailbox unavailable, Mail send limit exceeded.":                             {slow: true},
		"451 You have exceeded your messaging limits":                                                                     {slow: true},
		"452 Too many emails sent in the last hour, throttled":                                                            {slow: true},
		"421 Domain x.test is not allowed to send: request limit exceeded, try again after Mon, 25 Aug 2025 07:00:31 UTC": {slow: true},
		// How long
		"451 4.7.1 Rate limit exceeded, try again in 30 seconds":          {true, 30 * time.Second},
		"421 4.7.0 Slow down! Retry after 60s":                            {true, time.Minute},
		"450 4.7.1 Too many messages, please try again in 5 minutes.":     {true, 5 * time.Minute},
		"454 Throttled. Retry-After: 120":                                 {true, 2 * time.Minute},
		"451 too many requests\r\n":                                       {slow: true},
		"451-Too many mails from you.\r\n451 Please WAIT at least\t2 Min": {true, 2 * time.Minute},
		"451 rate limited for 1 hour":                                     {true, time.Hour},
		"451 rate limit, wait 3 days":                                     {true, time.Hour},
		"451 rate limit, wait 999999 hours":                               {true, time.Hour},
		"451 rate limit, wait 999999 days":                                {true, time.Hour},
		"451 rate limit of 100 messages per hour exceeded":                {slow: true},
		"451 rate limit, try again in 99999999999999999999 seconds":       {slow: true},
		"451 rate limit, try again later (192.0.2.1 sent 5 mails)":        {slow: true},
		"451 please try again in 30 seconds":                              {},
		// Other codes
		"550 5.7.1 rate limit exceeded, try again in 30 seconds": {},
		"250 slow down":                 {},
		"452 4.2.1 rate limit exceeded": {},
		"455 rate limit":                {},
	} {
		r := spoken(said + "\r\n")
		if r.IsZero() {
			t.Errorf("%q is no reply", said)
		}
		if wait, slow := r.SlowDown(); slow != want.slow || wait != want.wait {
			t.Errorf("%q: %v, %v; want %v, %v", said, slow, wait, want.slow, want.wait)
		}
	}
	if wait, slow := (Reply{}).SlowDown(); slow || wait != 0 {
		t.Error("no reply asks for nothing")
	}
}

func FuzzSlowDown(f *testing.F) {
	f.Add("451 4.7.1 rate limit, try again in 30 seconds")
	f.Fuzz(func(t *testing.T, said string) {
		r := spoken(said + "\r\n")
		wait, slow := r.SlowDown()
		if wait < 0 || wait > longestWait || wait > 0 && !slow || slow && !r.Temporary() {
			t.Errorf("%q: %v, %v", said, wait, slow)
		}
	})
}
