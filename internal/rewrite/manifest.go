package rewrite

// Version counts the changes of what the rewriter produces for the same input and options. It is part of the
// identity of code, so two sides of different versions never mistake their variants for the same.
const Version = 4

// The names that the rewriter adds. A module that uses any of them itself stays local.
const (
	// Module is the import module of the functions that the host offers to rewritten code.
	Module = "clonecloud"
	// Prefix begins every export that the rewriter adds.
	Prefix = "clonecloud:"

	// ImportEnter (id i32) -> i32 asks at an armed candidate's entry where to run: one of the Enter constants.
	ImportEnter = "enter"
	// ImportLeave (id i32) reports that the body returned on the device.
	ImportLeave = "leave"
	// ImportCall + decimal id carries the arguments out and brings results and one of the Call statuses back.
	ImportCall = "call."
	// ImportPoll () is called by the poll that finds the stop global above zero: each PollEvery polls, or when it was set.
	ImportPoll = "poll"

	exportMemory  = Prefix + "memory"
	exportStart   = Prefix + "start"
	exportStop    = Prefix + "stop"
	exportArm     = Prefix + "arm."
	exportBody    = Prefix + "body."
	exportGlobal  = Prefix + "global."
	exportGet     = Prefix + "get."
	exportSet     = Prefix + "set."
	exportDropped = Prefix + "dropped."
	exportDrop    = Prefix + "drop."
)

// armBits is how many candidates share a global for their flags. Code gets longer with each mutable global of a module
// in engines that keep globals in registers: wazero reloads them all after each call, and takes half as long again to
// compile a large module that has 200 more.
const armBits = 31 // the sign bit stays clear

// What ImportEnter answers.
const (
	EnterLocal = 0 // run the body here, then call ImportLeave
	EnterClone = 1 // call ImportCall
	EnterPlain = 2 // run the body as if the candidate were not armed; a tail call where the module has any
)

// What ImportCall gives as its last result.
const (
	CallDone     = 0 // the other results are the candidate's
	CallFallBack = 1 // the other results mean nothing; the body runs here, then ImportLeave is called
)

// Manifest says what the rewriter made of a module: everything a host needs to drive it and to capture its state.
type Manifest struct {
	Version int `json:"version"`
	// Digest is the identity of the code: of the original module, the rewriter's version and the options.
	Digest     [32]byte    `json:"digest"`
	Candidates []Candidate `json:"candidates"` // by ID
	Globals    []Global    `json:"globals"`    // every mutable global of a number type, by index
	Vectors    []Vector    `json:"vectors"`    // every mutable v128 global, by index
	Segments   []Segment   `json:"segments"`   // every data segment that the code may drop, by index
	Memory     string      `json:"memory"`     // export name; "": the module has no memory
	Start      string      `json:"start"`      // export name of the former start function; "": none
	Stop       string      `json:"stop"`       // export name of the i32 global that polls look at; "": no polls
	// TailCalls: the code makes tail calls. Between EnterLocal and ImportLeave a chain of them through candidates takes
	// stack for each that is answered EnterLocal again; EnterPlain takes none.
	TailCalls bool `json:"tail_calls"`
	// Image is what the memory must hold before any code runs, in order: later pieces lie over earlier ones. All of it is
	// within the declared minimum. Empty: what the code itself lays there is all.
	Image []Piece `json:"image,omitempty"`
}

// Candidate is a function whose execution may move. Params and Results are value types in binary form as the host
// sees them in Body and Call: v128 is two i64, the low half first. Call's results have an i32 status behind them.
type Candidate struct {
	ID      uint32 `json:"id"`   // position in the sorted list of candidates
	Func    uint32 `json:"func"` // index in the original module
	Name    string `json:"name"` // from the name section or an export; may be empty
	Params  []byte `json:"params"`
	Results []byte `json:"results"`
	Body    string `json:"body"`          // export: the function itself, never the wrapper
	Arm     string `json:"arm,omitempty"` // export: the i32 global that holds the flag; "" without wrappers
	Bit     uint8  `json:"bit,omitempty"` // of Arm: the flag
	Call    string `json:"call,omitempty"`
}

// Global is a mutable global of a number type; its index is the same in the original module.
type Global struct {
	Index  uint32 `json:"index"`
	Type   byte   `json:"type"`
	Export string `json:"export"`
}

// Vector is a mutable v128 global. Get is () -> (i64 low, i64 high), Set (i64 low, i64 high) -> ().
type Vector struct {
	Index uint32 `json:"index"`
	Get   string `json:"get"`
	Set   string `json:"set"`
}

// Segment is a passive data segment that the code may drop. Flag is an i32 global, 1 once it is dropped; Drop is
// a function () -> () that drops it and sets the flag.
type Segment struct {
	Index uint32 `json:"index"`
	Flag  string `json:"flag"`
	Drop  string `json:"drop"`
}
