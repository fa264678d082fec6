package smtptest

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"
)

// authenticate holds the AUTH exchange with mechanisms PLAIN, LOGIN, CRAM-MD5,
// SCRAM-SHA-1, SCRAM-SHA-256 and XOAUTH2.
func (c *conn) authenticate(line string) bool {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return c.reply("auth", "501 5.5.4 Syntax: AUTH mechanism")
	}
	var initial *string
	if len(fields) > 2 {
		initial = &fields[2]
	}
	mech := strings.ToUpper(fields[1])
	switch mech {
	case "PLAIN":
		return c.authPlain(initial)
	case "LOGIN":
		return c.authLogin()
	case "CRAM-MD5":
		return c.authCRAM()
	case "SCRAM-SHA-1":
		return c.authSCRAM(mech, sha1.New)
	case "SCRAM-SHA-256":
		return c.authSCRAM(mech, sha256.New)
	case "XOAUTH2":
		return c.authXOAUTH2(initial)
	}
	return c.reply("auth", "504 5.5.4 Unrecognized authentication type")
}

// challenge sends a 334 and returns the decoded line that answers it.
func (c *conn) challenge(text []byte) (answer string, ok bool) {
	if !c.reply("auth1", "334 "+base64.StdEncoding.EncodeToString(text)) {
		return "", false
	}
	for {
		if i := bytes.IndexByte(c.in, '\n'); i >= 0 {
			line := strings.TrimSuffix(string(c.in[:i]), "\r")
			c.in = c.in[i+1:]
			c.record(func(r *Session) { r.Commands = append(r.Commands, line) })
			return decode(line), true
		}
		if !c.fill() {
			return "", false
		}
	}
}

func decode(b64 string) string {
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return b64
	}
	return string(b)
}

// finish records the credentials and says whether they are right.
func (c *conn) finish(a Auth, right bool) bool {
	c.record(func(r *Session) { r.Auth = &a })
	c.auth = true
	text := "535 5.7.8 Error: authentication failed"
	if right {
		text = "235 2.7.0 Authentication successful"
	}
	c.behaviour(func(b *Behaviour) {
		if b.AuthReply != "" {
			text = b.AuthReply
		}
	})
	return c.reply("auth", text)
}

// password returns a user's, if there is such a user.
func (c *conn) password(user string) (pass string, ok bool) {
	c.behaviour(func(b *Behaviour) { pass, ok = b.AuthUsers[user] })
	return pass, ok
}

func (c *conn) authPlain(initial *string) bool {
	var message string
	if initial != nil {
		message = decode(*initial)
	} else {
		var ok bool
		if message, ok = c.challenge(nil); !ok {
			return false
		}
	}
	parts := strings.SplitN(message, "\x00", 3)
	if len(parts) < 3 {
		return c.reply("auth", "501 5.5.2 Malformed PLAIN")
	}
	want, known := c.password(parts[1])
	return c.finish(Auth{"PLAIN", parts[1], parts[2]}, known && want == parts[2])
}

func (c *conn) authLogin() bool {
	user, ok := c.challenge([]byte("Username:"))
	if !ok {
		return false
	}
	pass, ok := c.challenge([]byte("Password:"))
	if !ok {
		return false
	}
	want, known := c.password(user)
	return c.finish(Auth{"LOGIN", user, pass}, known && want == pass)
}

func (c *conn) authCRAM() bool {
	const nonce = "<1896.697170952@sink.test>"
	answer, ok := c.challenge([]byte(nonce))
	if !ok {
		return false
	}
	user, digest, _ := cutLast(answer, " ")
	want, known := c.password(user)
	mac := hmac.New(md5.New, []byte(want))
	mac.Write([]byte(nonce))
	return c.finish(Auth{Mech: "CRAM-MD5", User: user}, known && digest == fmt.Sprintf("%x", mac.Sum(nil)))
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// authSCRAM is RFC 5802 without channel binding.
func (c *conn) authSCRAM(mech string, h func() hash.Hash) bool {
	first, ok := c.challenge(nil)
	if !ok {
		return false
	}
	bare := strings.TrimPrefix(first, "n,,")
	name, nonce, _ := strings.Cut(strings.TrimPrefix(bare, "n="), ",r=")
	user := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name)
	const salt, iterations = "salt of the sink", 4096
	serverFirst := fmt.Sprintf("r=%ssink,s=%s,i=%d", nonce, base64.StdEncoding.EncodeToString([]byte(salt)), iterations)
	final, ok := c.challenge([]byte(serverFirst))
	if !ok {
		return false
	}
	want, known := c.password(user)
	salted, err := pbkdf2.Key(h, want, []byte(salt), iterations, h().Size())
	if err != nil {
		return false
	}
	sign := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	withoutProof, proof, _ := cutLast(final, ",p=")
	message := bare + "," + serverFirst + "," + withoutProof
	clientKey := sign(salted, "Client Key")
	stored := h()
	stored.Write(clientKey)
	signature := sign(stored.Sum(nil), message)
	for i := range clientKey {
		clientKey[i] ^= signature[i]
	}
	right := known && proof == base64.StdEncoding.EncodeToString(clientKey) &&
		strings.HasPrefix(withoutProof, "c=biws,r="+nonce+"sink")
	if right {
		v := base64.StdEncoding.EncodeToString(sign(sign(salted, "Server Key"), message))
		if _, ok := c.challenge([]byte("v=" + v)); !ok {
			return false
		}
	}
	return c.finish(Auth{Mech: mech, User: user}, right)
}

// authXOAUTH2 takes the password of AuthUsers for the access token. A wrong
// one gets Google's challenge first, which the client answers with an empty
// line.
func (c *conn) authXOAUTH2(initial *string) bool {
	if initial == nil {
		return c.reply("auth", "501 5.5.4 XOAUTH2 needs an initial response")
	}
	user, token, _ := strings.Cut(strings.TrimPrefix(decode(*initial), "user="), "\x01auth=Bearer ")
	token = strings.TrimSuffix(token, "\x01\x01")
	want, known := c.password(user)
	right := known && want == token
	if !right {
		if _, ok := c.challenge([]byte(`{"status":"401","schemes":"bearer"}`)); !ok {
			return false
		}
	}
	return c.finish(Auth{"XOAUTH2", user, token}, right)
}
