package compose_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postrider/delivery"
	"postrider/delivery/compose"
)

func ExampleComposer_Compose() {
	c := compose.New(compose.Options{DefaultFrom: "Shop <shop@sender.test>"}, nil, nil)
	defer c.Close()
	m, err := c.Compose(context.Background(), delivery.Document{
		To:      []string{"Lovelace, Ada <ada@rcpt.test>; bob@BÜCHER.test"},
		Message: delivery.Message{Subject: "Grüße", Text: "Your order is on its way.\n"},
	}, compose.Claim{
		ID:   "6f1c8d1e-2b1f-4a57-9a3b-0c5d2f7e9a10",
		Time: time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.From, m.To)
	fmt.Print(strings.ReplaceAll(string(m.Message), "\r\n", "\n"))
	// Output:
	// shop@sender.test [ada@rcpt.test bob@xn--bcher-kva.test]
	// From: Shop <shop@sender.test>
	// To: "Lovelace, Ada" <ada@rcpt.test>, bob@xn--bcher-kva.test
	// Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=
	// Message-ID: <6f1c8d1e-2b1f-4a57-9a3b-0c5d2f7e9a10@sender.test>
	// Date: Thu, 29 Feb 2024 12:00:00 +0000
	// MIME-Version: 1.0
	// Content-Type: text/plain; charset=utf-8
	// Content-Transfer-Encoding: 7bit
	//
	// Your order is on its way.
}
