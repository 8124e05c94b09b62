package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/internal/trace"
)

func TestWatchSeesTrips(t *testing.T) {
	const ms = time.Millisecond
	w := newWatch()
	for _, e := range []clonecloud.Event{
		{At: 1 * ms, Kind: trace.Ready},
		{At: 2 * ms, Kind: trace.FrameReceived, Op: "files"}, // of nothing that is away
		{At: 12 * ms, Kind: trace.Depart, Took: 2 * ms},
		{At: 13 * ms, Kind: trace.Pinned, Took: ms},
		{At: 14 * ms, Kind: trace.FrameReceived, Op: "pong"},
		{At: 15 * ms, Kind: trace.FrameReceived, Op: "files"},
		{At: 16 * ms, Kind: trace.Sent, Took: ms},
		{At: 30 * ms, Kind: trace.FrameReceived, Op: "files"},
		{At: 35 * ms, Kind: trace.FilesGiven, Took: 5 * ms, Up: 100},
		{At: 40 * ms, Kind: trace.Output, Took: ms},
		{At: 45 * ms, Kind: trace.FilesGiven, Took: ms, Up: 11},
		{At: 60 * ms, Kind: trace.Offloaded, Took: 50 * ms, Exec: 20 * ms},
		{At: 61 * ms, Kind: trace.Ready},
		{At: 70 * ms, Kind: trace.Depart},
		{At: 80 * ms, Kind: trace.Fallback},
		{At: 81 * ms, Kind: trace.FilesGiven, Up: 5},
		{At: 90 * ms, Kind: trace.Depart},
		{At: 99 * ms, Kind: trace.Offloaded, Took: 9 * ms},
	} {
		w.take(e)
	}
	select {
	case <-w.ready:
	default:
		t.Error("it has not seen that a clone is ready")
	}
	want := []trip{
		{took: 50 * ms, exec: 20 * ms, follows: true, asked: 1, word: 20 * ms, wants: 2, given: 111},
		{took: 9 * ms},
	}
	if diff := cmp.Diff(want, w.ended(), cmp.AllowUnexported(trip{})); diff != "" {
		t.Error(diff)
	}
}
