package main

import (
	"io"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// newLogger returns a logger that writes JSON lines with the field names that
// Cloud Logging reads: severity, time, message.
func newLogger(w io.Writer, level zerolog.Level) zerolog.Logger {
	zerolog.LevelFieldName = "severity"
	zerolog.LevelFieldMarshalFunc = severity
	zerolog.ErrorFieldName = "err"
	zerolog.TimeFieldFormat = time.RFC3339Nano
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// severity returns a level by Cloud Logging's name for it.
func severity(l zerolog.Level) string {
	switch l {
	case zerolog.WarnLevel:
		return "WARNING"
	case zerolog.FatalLevel, zerolog.PanicLevel:
		return "CRITICAL"
	case zerolog.TraceLevel:
		return "DEBUG"
	}
	return strings.ToUpper(l.String())
}
