package config_test

import (
	"fmt"

	"postrider/config"
)

// In a program, lookup is os.LookupEnv.
func ExampleLoad() {
	environment := map[string]string{
		"GOOGLE_CLOUD_PROJECT": "my-project",
		"SMTP_CONNECTION_URI":  "smtps://user@smtp.example.com",
		"SMTP_PASSWORD":        "s3cret",
		"LEASE_DURATION":       "1 minute",
	}
	lookup := func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}
	_, err := config.Load(lookup)
	fmt.Println(err)

	environment["MAIL_COLLECTION"] = "mail"
	environment["LEASE_DURATION"] = "1m"
	c, err := config.Load(lookup)
	fmt.Println(err, c.SMTP.Host, c.SMTP.Port, c.SMTP.Password)
	// Output:
	// LEASE_DURATION is "1 minute": write a time from 10s to 1h with its unit, as 500ms, 45s or 2m
	// MAIL_COLLECTION is not set: set it, as mail
	// <nil> smtp.example.com 465 [secret]
}
