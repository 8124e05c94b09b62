package engine

import "fmt"

// Slots says how the values of a function lie in a stack of raw slots. It is for implementations.
type Slots struct {
	Params, Results []byte // value types in binary form
	params, results []int  // positions of values that have only 32 bits
	n               int
}

// SlotsOf returns the layout of a function type that has only numbers.
func SlotsOf(params, results []byte) Slots {
	return Slots{params, results, narrow(params), narrow(results), max(len(params), len(results))}
}

func narrow(types []byte) (list []int) {
	for i, t := range types {
		if t == I32 || t == F32 {
			list = append(list, i)
		}
	}
	return list
}

// Len is how many slots a stack has at least: as many as the larger of both lists.
func (s *Slots) Len() int { return s.n }

const low32 = 1<<32 - 1

// ClearParams clears the upper halves of arguments that have only 32 bits. Preconditions: stack has Len slots.
func (s *Slots) ClearParams(stack []uint64) { clearUpper(stack, s.params) }

// ClearResults is ClearParams for results.
func (s *Slots) ClearResults(stack []uint64) { clearUpper(stack, s.results) }

func clearUpper(stack []uint64, at []int) {
	for _, i := range at {
		stack[i] &= low32
	}
}

// Take checks the stack of a call of the function that is called name, and clears its arguments.
func (s *Slots) Take(name string, stack []uint64) error {
	if len(stack) < s.n {
		return fmt.Errorf("call %s: stack has %d slots, not %d", name, len(stack), s.n)
	}
	s.ClearParams(stack)
	return nil
}
