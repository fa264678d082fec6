package smtptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"mime"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Postfix is a private Postfix on loopback: its own configuration, queue and
// mailboxes, which go when the test ends. rcpt.test has the mailbox ada; moved
// is accepted and then bounced; everybody else is unknown.
type Postfix struct {
	Addr string      // host:port
	TLS  *tls.Config // trusts it
	CA   string      // its certificate, in PEM

	t    *testing.T
	dir  string
	port int
}

// StartPostfix starts Postfix's master, and waits until it answers.
func StartPostfix(t *testing.T) *Postfix {
	t.Helper()
	master := findPostfix(t)
	owner, err := user.Lookup("postfix")
	if err != nil {
		missing(t, "there is no user postfix")
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	dir := t.TempDir()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	x := &Postfix{Addr: fmt.Sprintf("127.0.0.1:%d", port), t: t, dir: dir, port: port}
	x.check(os.Chmod(filepath.Dir(dir), 0o755)) // Postfix works as another user
	x.check(os.Chmod(dir, 0o755))
	for _, d := range strings.Fields("active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace") {
		x.check(os.MkdirAll(filepath.Join(dir, "spool", d), 0o755))
		if d != "pid" {
			x.check(os.Chown(filepath.Join(dir, "spool", d), uid, gid))
		}
	}
	for _, d := range []string{"data", "mail"} {
		x.check(os.Mkdir(filepath.Join(dir, d), 0o755))
		x.check(os.Chown(filepath.Join(dir, d), uid, gid))
	}
	x.certify()
	x.write("main.cf", fmt.Sprintf(postfixMain, dir, uid, gid, filepath.Dir(master)))
	x.write("master.cf", fmt.Sprintf(postfixMaster, x.port))
	x.run(master)
	return x
}

// findPostfix returns the path of Postfix's master daemon.
func findPostfix(t *testing.T) string {
	t.Helper()
	postconf, err := exec.LookPath("postconf")
	if err != nil {
		postconf = "/usr/sbin/postconf"
	}
	out, err := exec.CommandContext(t.Context(), postconf, "-dh", "daemon_directory").Output()
	if err != nil {
		missing(t, "Postfix is not installed (apt-get install postfix)")
	}
	if os.Geteuid() != 0 {
		missing(t, "Postfix can only be started by root")
	}
	return filepath.Join(strings.TrimSpace(string(out)), "master")
}

// missing skips the test, or fails it where everything must be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s, and CI is set", what)
	}
	t.Skipf("SKIPPED, NOT PASSED: %s", what)
}

func (x *Postfix) check(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *Postfix) write(name, text string) {
	x.t.Helper()
	x.check(os.WriteFile(filepath.Join(x.dir, name), []byte(text), 0o644))
}

// certify gives Postfix the test certificate of net/http/httptest.
func (x *Postfix) certify() {
	x.t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	defer web.Close()
	key, err := x509.MarshalPKCS8PrivateKey(web.TLS.Certificates[0].PrivateKey)
	x.check(err)
	var b bytes.Buffer
	x.check(pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	x.check(pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	x.write("chain.pem", b.String())
	x.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	x.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	x.TLS.RootCAs.AddCert(web.Certificate())
}

// run starts master in a process group of its own and ends exactly that when
// the test is over.
func (x *Postfix) run(master string) {
	x.t.Helper()
	c := exec.Command(master, "-c", x.dir, "-d")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	x.check(c.Start())
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	x.t.Cleanup(func() {
		_ = syscall.Kill(c.Process.Pid, syscall.SIGTERM) // master ends its children
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	})
	ctx, stop := context.WithTimeout(x.t.Context(), 20*time.Second)
	defer stop()
	for {
		nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", x.Addr)
		if err == nil {
			_ = nc.Close()
			return
		}
		if !tick(ctx) {
			log, _ := os.ReadFile(filepath.Join(x.dir, "log"))
			x.t.Fatalf("Postfix does not answer: %v\n%s", err, log)
		}
	}
}

// tick lets a moment pass before something outside of this process is looked at
// again. It is false when ctx has ended.
func tick(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

// Next waits for a mail of that subject, decoded, in ada's mailbox, and returns its
// source as Postfix has delivered it.
func (x *Postfix) Next(subject string) []byte {
	x.t.Helper()
	ctx, stop := context.WithTimeout(x.t.Context(), 20*time.Second)
	defer stop()
	for tick(ctx) {
		files, err := filepath.Glob(filepath.Join(x.dir, "mail", "ada", "new", "*"))
		x.check(err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			x.check(err)
			m, err := netmail.ReadMessage(bytes.NewReader(b))
			x.check(err)
			if got, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err == nil && got == subject {
				return b
			}
		}
	}
	log, _ := os.ReadFile(filepath.Join(x.dir, "log"))
	x.t.Fatalf("%q never arrived\n%s", subject, log)
	return nil
}

// Of pipelining it allows what RFC 2920 does, and nothing else.
const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
daemon_directory = %[4]s
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = mx.postrider.test
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_tls_chain_files = %[1]s/chain.pem
smtpd_tls_security_level = may
message_size_limit = 100000
smtpd_forbid_unauth_pipelining = yes
smtpd_data_restrictions = reject_unauth_pipelining
smtpd_end_of_data_restrictions = reject_unauth_pipelining
virtual_mailbox_domains = rcpt.test
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = inline:{ { ada@rcpt.test = ada/ } }
virtual_alias_maps = inline:{ { moved@rcpt.test = elsewhere@new.test } }
virtual_uid_maps = static:%[2]d
virtual_gid_maps = static:%[3]d
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
default_transport = error:5.1.6 moved away
`

const postfixMaster = `127.0.0.1:%d inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`
