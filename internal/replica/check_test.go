package replica

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func checked(state CheckState) *Checked {
	c := &Checked{State: state}
	for i, n := range c.counts() {
		*n = uint64(i+1) * 100
	}
	if state == CheckFailed {
		c.Text = "why"
	}
	return c
}

func TestChecked(t *testing.T) {
	for _, state := range []CheckState{CheckRuns, CheckDone, CheckFailed} {
		want := checked(state)
		got, err := DecodeChecked(want.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("state %d: got %+v, %v", state, got, err)
		}
	}
	long := checked(CheckFailed)
	long.Text = strings.Repeat("x", 2*maxText)
	if got, err := DecodeChecked(long.AppendTo(nil)); err != nil || len(got.Text) != maxText {
		t.Errorf("a long text: got %+v, %v", got, err)
	}
	large := checked(CheckDone)
	large.Missing = 1<<62 + 1
	if _, err := DecodeChecked(large.AppendTo(nil)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a count that cannot be: got %v", err)
	}
	if _, err := DecodeChecked(append([]byte{3}, checked(CheckDone).AppendTo(nil)[1:]...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a state that is none: got %v", err)
	}
	for _, readData := range []bool{false, true} {
		if got, err := DecodeCheck(AppendCheck(nil, readData)); err != nil || got != readData {
			t.Errorf("question: got %v, %v, want %v", got, err, readData)
		}
	}
	if _, err := DecodeCheck([]byte{2}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a flag that is none: got %v", err)
	}
}
