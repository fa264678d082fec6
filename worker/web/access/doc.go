// Package access tells who calls the status API: it takes a request and the time,
// and returns the caller or a reason to refuse. It reads no clock, keeps nothing
// and knows no routes.
//
// Two kinds of callers there are, and both prove that they know one of the keys of
// API_ACCESS_KEYS:
//
//   - [Keys.Signed]: requests signed as the clients of Azure Communication Services
//     sign them (Azure documentation, "Sign an HTTP request with HMAC").
//   - [Keys.Bearer]: requests with a JSON Web Token (RFC 7519) in the header
//     Authorization (RFC 6750 §2.1), signed with HS256 (RFC 7518 §3.2).
//
// Every signature is compared in constant time, and with all keys, whichever fits.
// A signed request may be sent again by who has seen it while its date holds, as
// with Azure: whatever must happen once needs an idempotency key besides.
package access
