package receipt

// Fault says why a notification is refused: which of its fields is wrong, and what
// to do about it. It quotes no address.
type Fault struct {
	Field   string // as in "Disposition"; "body" for the whole
	Problem string // continues it as a sentence, as in "is missing; …"
}

// Error returns the sentence.
func (f *Fault) Error() string { return f.Field + " " + f.Problem }
