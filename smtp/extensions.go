package smtp

import "strings"

// extensions are what a server offered in its reply to EHLO (RFC 5321
// §4.1.1.1), as far as it is of use here.
type extensions struct {
	pipelining, eightBit, utf8, startTLS bool

	size bool // MAIL may tell the message's size, and the server judges it (RFC 1870)

	auth  bool     // AUTH is offered
	mechs []string // mechanisms, upper case, in the server's order
}

// readExtensions reads the reply to EHLO. Keywords are case-insensitive;
// "AUTH=" is the form of old servers.
func readExtensions(r Reply) extensions {
	var e extensions
	for i := range r.Lines {
		if i == 0 {
			continue // the server's name
		}
		keyword, args, _ := strings.Cut(strings.TrimSpace(r.text(i)), " ")
		keyword = strings.ToUpper(keyword)
		if rest, ok := strings.CutPrefix(keyword, "AUTH="); ok {
			keyword, args = "AUTH", rest+" "+args
		}
		switch keyword {
		case "PIPELINING":
			e.pipelining = true
		case "8BITMIME":
			e.eightBit = true
		case "SMTPUTF8":
			e.utf8 = true
		case "STARTTLS":
			e.startTLS = true
		case "SIZE":
			e.size = true
		case "AUTH":
			e.auth = true
			e.mechs = append(e.mechs, strings.Fields(strings.ToUpper(args))...)
		}
	}
	return e
}
