package config

import "errors"

// LoadFirestore reads where the collections are and nothing else: what a
// command needs that adds or reads documents and sends nothing. Its error joins
// every [*Fault] there is.
func LoadFirestore(lookup func(string) (string, bool)) (Config, error) {
	r, c := newReader(lookup), Config{}
	r.firestore(&c)
	if len(r.faults) > 0 {
		return Config{}, errors.Join(r.faults...)
	}
	c.settings = r.settings(nil)
	return c, nil
}
