package smtp_test

import (
	"context"
	"fmt"
	"time"

	"postrider/smtp"
	"postrider/smtp/smtptest"
)

func ExamplePool_Send() {
	server, err := smtptest.Start(smtptest.Behaviour{
		Rcpt: map[string]smtptest.Replies{"bob@example.org": {"550 5.1.1 No such user"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	pool, err := smtp.NewPool(smtp.Options{Host: "127.0.0.1", Port: server.Port()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()

	ctx := context.Background() // the caller's; it may stop a mail that is not sent yet
	limit, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	result, err := pool.Send(ctx, limit, smtp.Mail{
		Envelope: smtp.Envelope{From: "shop@example.com", To: []string{"ada@example.org", "bob@example.org"}},
		Message:  []byte("Subject: Your order\r\n\r\nis on its way.\r\n"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Reply)
	for _, r := range result.Recipients {
		fmt.Println(r.Address, r.Reply.Positive(), r.Reply.Enhanced)
	}
	// Output:
	// 250 2.0.0 Ok: queued as SINK
	// ada@example.org true 2.1.5
	// bob@example.org false 5.1.1
}
