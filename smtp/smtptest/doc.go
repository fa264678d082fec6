// Package smtptest has an SMTP server that does as it is told, and a proxy that
// spoils a connection after a given byte. Both are for tests, benchmarks and
// the corpus runner; neither is for mail that matters.
package smtptest
