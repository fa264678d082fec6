package main

import (
	"fmt"
	"runtime"

	"postrider/config"
)

const (
	busyShare = 0.8 // of the processors' time, from which on they are what bounds the speed
	nearRate  = 0.8 // of a rate, likewise
)

// bound is what the speed of a measurement is bounded by.
type bound struct {
	benchResult
	config config.Config
	dry    bool
	bytes  int     // of one mail
	slowed float64 // mails a second that the server asked for; 0 if it did not
}

// verdict says what bounds the speed, and which setting helps. It is empty if
// nothing was delivered.
func (b bound) verdict() string {
	cores, busy := runtime.GOMAXPROCS(0), b.CPU*float64(b.Attempt.Count)/b.Seconds
	switch rate := b.config.SMTPRate; {
	case b.Delivered == 0:
		return ""
	case rate.Limited() && b.PerSecond >= nearRate*float64(rate.N)/rate.Per.Seconds():
		return fmt.Sprintf("SMTP_RATE bounds it: %s.", rate)
	case b.slowed > 0:
		return fmt.Sprintf("The mail server bounds it: it asked to slow down, and seems to take %s mails/s.", digits(b.slowed))
	case busy >= busyShare*float64(cores):
		return fmt.Sprintf("The processor bounds it: %.1f of %d cores were busy. Give it more of them, or run several instances.", busy, cores)
	}
	return b.longest()
}

// longest says where a mail spends most of its way.
func (b bound) longest() string {
	share := map[string]float64{}
	for _, p := range b.Phases {
		share[p.Name] = 100 * p.Share
	}
	claiming, firestore := claims(share["claim"], share["write_back"])
	compose, connect, transaction := share["compose"], share["connect"], share["transaction"]
	most := max(claiming, firestore, compose, connect, transaction)
	connections, hands := b.config.SMTP.MaxConnections, b.config.Concurrency
	switch {
	case most == 0:
		return ""
	case most == claiming:
		return fmt.Sprintf("Claiming, with the waits before it, takes the most, %.0f %% of a mail's way: for a hand (CONCURRENCY, %d), for "+
			"SMTP_RATE, for room (MAX_BYTES_IN_FLIGHT, %s), or for a mail server that can't be used.", most, hands, sized(float64(b.config.MaxBytesInFlight)))
	case most == firestore && b.config.EmulatorHost != "":
		return fmt.Sprintf("The emulator's writes take the most, %.0f %% of a mail's way: Firestore itself has other limits.", most)
	case most == firestore:
		return fmt.Sprintf("Firestore takes the most, %.0f %% of a mail's way. Run in the database's region; with a higher CONCURRENCY "+
			"(%d) more mails share a write.", most, hands)
	case most == compose && b.bytes*hands > b.config.MaxBytesInFlight:
		return fmt.Sprintf("Making mails takes the most, %.0f %% of their way. They are large: MAX_BYTES_IN_FLIGHT (%s) lets few be made at a time.",
			most, sized(float64(b.config.MaxBytesInFlight)))
	case most == compose:
		return fmt.Sprintf("Making mails takes the most, %.0f %% of their way: templates, attachments, and the processors they have.", most)
	case b.dry:
		return fmt.Sprintf("Sending takes the most, %.0f %% of a mail's way, and in a dry run that is the processor. --to measures the mail server.",
			connect+transaction)
	case most == connect:
		return fmt.Sprintf("Waiting for a connection takes the most, %.0f %% of a mail's way. Raise SMTP_MAX_CONNECTIONS (%d) as far as the "+
			"server allows.", most, connections)
	}
	return fmt.Sprintf("The mail server takes the most, %.0f %% of a mail's way. If it works on several mails at a time, raise "+
		"SMTP_MAX_CONNECTIONS (%d) and CONCURRENCY (%d).", most, connections, hands)
}

// claims returns the share of claiming, with the waits before it, and that of
// Firestore. A claim is one write, as the write-back is: where it takes much longer,
// it is the waits that do, and not Firestore.
func claims(claim, writeBack float64) (claiming, firestore float64) {
	const much = 2
	if claim > much*writeBack {
		return claim, writeBack
	}
	return 0, claim + writeBack
}
