package wasi

import (
	"bytes"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/google/go-cmp/cmp"
)

func sampleState() *State {
	s := NewState([]string{"prog", "", "x"}, []string{"A=1", "B="}, [32]byte{1, 2})
	s.Clocks = [NumClocks]uint64{5, 1 << 60}
	var drawn [3]byte
	s.Rand.Read(drawn[:])
	for fd, f := range map[uint32]*FD{
		0: {Handle: 1, Kind: KindStream, Base: StreamRights},
		3: {Handle: 4, Kind: KindDir, Type: vfs.TypeDirectory, Base: DirRights, Inheriting: FileRights, Preopen: "/"},
		9: {Handle: 7, Kind: KindFile, Type: vfs.TypeRegular, Flags: FDAppend, Offset: 1<<63 - 1},
	} {
		if err := s.Set(fd, f); err != nil {
			panic(err)
		}
	}
	return s
}

func TestStateRoundTrip(t *testing.T) {
	s := sampleState()
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var r State
	if err := r.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	again, err := r.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, b) {
		t.Errorf("encoded again: got %x, want %x", again, b)
	}
	if d := cmp.Diff(s.fds, r.fds); d != "" {
		t.Errorf("descriptors differ (-want +got):\n%s", d)
	}
	var x, y [100]byte
	s.Rand.Read(x[:])
	r.Rand.Read(y[:])
	if x != y {
		t.Error("random generators went apart")
	}
	for n := range b {
		if err := new(State).UnmarshalBinary(b[:n]); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
	}
}

func TestStateCloneIsIndependent(t *testing.T) {
	s := sampleState()
	before, _ := s.MarshalBinary()
	c := s.Clone()
	c.FD(9).Offset = 1
	c.Args[0] = "other"
	c.Rand.Uint64()
	_ = c.Set(0, nil)
	if after, _ := s.MarshalBinary(); !bytes.Equal(before, after) {
		t.Error("a change of the clone shows in the original")
	}
}
