package wire

import (
	"errors"
	"fmt"

	pb "github.com/clonecloud/clonecloud/internal/wire/wirepb"
)

// Bounds of what is declared of host functions. With them a Hello of the most candidates still fits a frame.
const (
	MaxHostRanges = 256  // of a program
	MaxFuncRanges = 16   // of one function
	MaxParams     = 1000 // of a function
)

// Direction says which way the bytes of a range go.
type Direction uint8

// The directions.
const (
	DirIn    Direction = 1 << iota // the function reads them
	DirOut                         // the function writes them
	DirInOut = DirIn | DirOut
)

// HostRange is a range of guest memory that a host function gets: Count elements of Size bytes from where parameter
// Pointer points, or as many as parameter Length says if Count is 0.
type HostRange struct {
	Func                         uint32 // index of the imported function
	Pointer, Length, Count, Size uint32
	Direction                    Direction
}

// Validate reports the first field that is out of bounds. Whether the parameters are there, only the module tells.
func (r *HostRange) Validate() error {
	switch {
	case r.Pointer >= MaxParams || r.Length >= MaxParams:
		return fmt.Errorf("range of parameters %d and %d", r.Pointer, r.Length)
	case r.Size == 0:
		return errors.New("range of elements without a size")
	case r.Count != 0 && r.Length != 0:
		return fmt.Errorf("range with both a count and parameter %d as its length", r.Length)
	case r.Count == 0 && r.Length == r.Pointer:
		return fmt.Errorf("range with parameter %d as pointer and length", r.Length)
	case r.Direction == 0 || r.Direction > DirInOut:
		return fmt.Errorf("range of direction %d", r.Direction)
	}
	return nil
}

func checkHosts(list []HostRange) error {
	if err := checkLen("host ranges", len(list), MaxHostRanges); err != nil {
		return err
	}
	same := 0
	for i := range list {
		if err := list[i].Validate(); err != nil {
			return fmt.Errorf("host function %d: %w", list[i].Func, err)
		}
		if same++; i == 0 || list[i].Func != list[i-1].Func {
			same = 1
		}
		if i > 0 && list[i].Func < list[i-1].Func {
			return fmt.Errorf("host function %d is out of order", list[i].Func)
		}
		if err := checkLen("ranges of a host function", same, MaxFuncRanges); err != nil {
			return err
		}
	}
	return nil
}

func hostsToProto(p *pb.Hello, list []HostRange) {
	for _, r := range list {
		p.HostFunc = append(p.HostFunc, r.Func)
		p.HostPointer = append(p.HostPointer, r.Pointer)
		p.HostLength = append(p.HostLength, r.Length)
		p.HostCount = append(p.HostCount, r.Count)
		p.HostSize = append(p.HostSize, r.Size)
		p.HostDirection = append(p.HostDirection, byte(r.Direction))
	}
}

func hostsFromProto(p *pb.Hello) ([]HostRange, error) {
	n := len(p.HostFunc)
	if len(p.HostPointer) != n || len(p.HostLength) != n || len(p.HostCount) != n || len(p.HostSize) != n || len(p.HostDirection) != n {
		return nil, errors.New("columns of host ranges differ in length")
	}
	if err := checkLen("host ranges", n, MaxHostRanges); err != nil || n == 0 {
		return nil, err
	}
	list := make([]HostRange, n)
	for i := range list {
		list[i] = HostRange{
			Func: p.HostFunc[i], Pointer: p.HostPointer[i], Length: p.HostLength[i], Count: p.HostCount[i], Size: p.HostSize[i],
			Direction: Direction(p.HostDirection[i]),
		}
	}
	return list, nil
}
