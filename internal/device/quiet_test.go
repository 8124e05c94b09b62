package device

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// hotController decides for one function, which stays.
func hotController() *Controller {
	return &Controller{
		cfg:     Config{Cloud: &Cloud{}, Policy: &Forced{Depth: 1 << 20}},
		proc:    &migrate.Process{Manifest: &rewrite.Manifest{Candidates: []rewrite.Candidate{{Name: "hot"}}}},
		report:  Report{Functions: []FunctionReport{{Kept: map[string]int{}}}},
		out:     &outside{},
		replay:  &migrate.Replayer{},
		pending: &linmem.PageSet{},
		looks:   make([]int, 1),
		waited:  true,
	}
}

// TestQuietPath: deciding for a hot function must cost no memory when nobody listens; who listens is told of both ends.
func TestQuietPath(t *testing.T) {
	c := hotController()
	ctx := context.Background()
	n := testing.AllocsPerRun(1000, func() {
		if where := c.enter(ctx, 0); where != rewrite.EnterLocal {
			t.Fatalf("it runs at %d", where)
		}
		if err := c.leave(0); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations in a decision", n)
	}
	var told []trace.Event
	c.cfg.Events = func(e trace.Event) { told = append(told, e) }
	c.enter(ctx, 0)
	if err := c.leave(0); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told[0].Kind != trace.Decide || told[0].Choice != "local" || told[0].Reason != noClone || told[0].Function != "hot" ||
		told[1].Kind != trace.Local || told[1].Took <= 0 || told[1].At < told[0].At {
		t.Errorf("a listener is told %v", told)
	}
}

// BenchmarkDecision is a call that stays, with nobody listening and with a trace being written.
func BenchmarkDecision(b *testing.B) {
	for _, traced := range []bool{false, true} {
		b.Run(fmt.Sprintf("traced=%t", traced), func(b *testing.B) {
			c := hotController()
			if traced {
				w, err := trace.NewWriter(io.Discard, trace.Header{}, nil)
				if err != nil {
					b.Fatal(err)
				}
				defer w.Close()
				c.cfg.Events = w.Emit
			}
			ctx := context.Background()
			for b.Loop() {
				c.enter(ctx, 0)
				if err := c.leave(0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
