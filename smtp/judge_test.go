package smtp

import "testing"

func code(n int) Reply {
	if n == 0 {
		return Reply{}
	}
	return Reply{Code: n, Lines: []string{"x"}}
}

func said(mail int, data int, rcpts ...int) dialogue {
	d := dialogue{mail: code(mail), data: code(data)}
	for _, r := range rcpts {
		d.rcpts = append(d.rcpts, code(r))
	}
	return d
}

func TestJudge(t *testing.T) {
	for what, c := range map[string]struct {
		d     dialogue
		step  step
		stage Stage
	}{
		"nothing said yet":                     {said(0, 0, 0), ask, ""},
		"sender accepted":                      {said(250, 0, 0, 0), ask, ""},
		"one recipient to go":                  {said(250, 0, 250, 0), ask, ""},
		"recipients accepted":                  {said(250, 0, 250, 251), ask, ""},
		"some accepted, DATA to go":            {said(250, 0, 550, 250), ask, ""},
		"all accepted":                         {said(250, 354, 250), transmit, ""},
		"some accepted":                        {said(250, 354, 550, 250, 451), transmit, ""},
		"421 for one, but still there":         {said(250, 354, 421, 250), transmit, ""},
		"sender refused":                       {said(550, 0, 0), refuse, StageMail},
		"sender refused for now":               {said(451, 0, 0), refuse, StageMail},
		"sender refused in a flight":           {said(550, 503, 503), refuse, StageMail},
		"sender refused, RCPT accepted":        {said(550, 503, 250), refuse, StageMail},
		"sender refused, message asked for":    {said(550, 354, 503), abandon, StageMail},
		"421 to the sender":                    {said(421, 0, 0), abandon, StageMail},
		"354 to the sender":                    {said(354, 0, 0), abandon, StageMail},
		"all refused, one by one":              {said(250, 0, 550, 450), refuse, StageRcpt},
		"all refused in a flight":              {said(250, 554, 550, 450), refuse, StageRcpt},
		"all refused, message asked for":       {said(250, 354, 550), abandon, StageRcpt},
		"all refused, one with 421":            {said(250, 0, 550, 421), abandon, StageRcpt},
		"354 to a recipient":                   {said(250, 0, 250, 354), abandon, StageRcpt},
		"DATA refused":                         {said(250, 554, 250), refuse, StageData},
		"DATA refused for now":                 {said(250, 451, 250, 550), refuse, StageData},
		"421 to DATA":                          {said(250, 421, 250), abandon, StageData},
		"250 to DATA is not leave to transmit": {said(250, 250, 250), abandon, StageData},
	} {
		if st, stage := c.d.judge(); st != c.step || stage != c.stage {
			t.Errorf("%s: got %v %q, want %v %q", what, st, stage, c.step, c.stage)
		}
	}
}

// Every combination of replies to MAIL, two RCPT and DATA, unsent ones
// included.
func TestJudgeNeverTransmitsWithoutARecipient(t *testing.T) {
	codes := []int{0, 220, 250, 354, 421, 450, 503, 550}
	for _, m := range codes {
		for _, a := range codes {
			for _, b := range codes {
				for _, d := range codes {
					st, stage := said(m, d, a, b).judge()
					proper := m/100 == 2 && d == 354 && (a/100 == 2 || b/100 == 2) && a*b != 0
					if st == transmit && !proper {
						t.Errorf("%d %d %d %d: transmits", m, a, b, d)
					}
					if (st == refuse || st == abandon) != (stage != "") {
						t.Errorf("%d %d %d %d: %v without or with stage %q", m, a, b, d, st, stage)
					}
					if st == refuse && (d/100 == 2 || d == 354) {
						t.Errorf("%d %d %d %d: goes on while the server waits for a message", m, a, b, d)
					}
				}
			}
		}
	}
}
