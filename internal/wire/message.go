package wire

import "fmt"

// Bounds of fields. A message within them fits MaxMessage.
const (
	MaxCall       = 1<<20 + 16<<10 // request or response of a home call, encoded
	MaxNote       = 64 << 10       // request or response of a journal entry
	MaxWASI       = 2 << 20        // WASI state, encoded
	MaxSlots      = 2048           // arguments or results: 1,000 values, each v128 two slots
	MaxGlobals    = 1 << 16
	MaxSegments   = 100_000
	MaxCandidates = 12_000 // they travel in one frame
	MaxRanges     = 1 << 16
	MaxMemory     = 1 << 32 // bytes of linear memory
	MaxDelta      = MaxMemory + MaxMemory/64
	MaxText       = 4096
	MaxFiles      = 7 << 20 // bytes of one Files message
	maxName       = 128
	pageSize      = 4096
	wasmPage      = 64 << 10
)

// Message is one of the message types of this package, as a pointer.
type Message interface {
	Type() Type
	// Validate reports the first field that is out of bounds. Encoding and decoding call it.
	Validate() error
	sizeHint() int
	appendBody(dst []byte) ([]byte, error)
	decode(body []byte) error
}

// Options are the ways in which the code was rewritten, as far as both sides must agree on them.
type Options uint32

// The options of rewritten code.
const (
	OptionCanonicalNaN Options = 1 << iota
	OptionPoll
	allOptions = OptionCanonicalNaN | OptionPoll
)

// Hello opens a session or resumes one.
type Hello struct {
	Version   uint32
	Module    ID // SHA-256 of the original module
	Process   Token
	Session   Token
	Code      ID // identity of the rewritten code
	Options   Options
	Engine    string
	Arch      string
	MemoryMax uint64 // bytes; the module's own maximum or the device's limit
	Resume    bool
	// Early says that the device goes on without waiting for Welcome, as if the module and its code were in place. Where
	// they are not, the conversation is refused with CodeUnknown.
	Early bool
	// VirtualClock replaces time by a count in the clone, as it does on the device.
	VirtualClock bool
	// FilesOnly says that no process follows: the session brings files ahead of need.
	FilesOnly bool
	// FilesKey is what the node encrypts the device's files with on its disk; it must not keep it. Zero: they are not kept.
	FilesKey [32]byte
	// Candidates are the functions that may migrate, by index in the original module, ascending.
	Candidates []uint32
	// Hosts are the memory ranges that the embedder's functions read and write, by function, in order of declaration.
	Hosts []HostRange
}

// Welcome accepts a session.
type Welcome struct {
	Version    uint32
	Session    Token
	HaveModule bool   // no need to send it
	Resumed    bool   // the session goes on; else all that was in flight is gone
	State      ID     // state that the clone holds; zero: the initial image or nothing
	Engine     string // that the clone begins on
	Arch       string
	Speed      float64 // of the machine, see package gauge; 0: not measured
	// Preferred is the engine on which devices that are not like it may expect their clones; empty: Engine.
	Preferred string
	// HaveCode says that the code is in place: nothing has to be compiled. Older nodes never say so.
	HaveCode bool
}

// Module carries a piece of the original module, in order.
type Module struct {
	Total, Offset uint64
	Data          []byte
}

// Continuation says where in the program an offload goes on.
type Continuation uint8

// The kinds of continuations; ContinuationStack is reserved and refused.
const (
	ContinuationInvalid Continuation = iota
	ContinuationCall                 // at the entry of a candidate, with arguments
	ContinuationStack                // in the midst of a function, with the whole stack
)

// Global is the value of one mutable global. Type is the binary form of its value type; Hi counts for v128 alone.
type Global struct {
	Index  uint32
	Type   byte
	Lo, Hi uint64
}

// Image is the state of a process but for its pages, which follow as Pages.
type Image struct {
	Base, Next  ID // the delta leads from Base to Next
	MemoryBytes uint64
	Globals     []Global // ascending by index
	Dropped     []uint32 // dropped segments, ascending
	WASI        []byte
	DeltaBytes  uint64 // length of the delta stream that follows; 0: not known yet
}

// Migrate starts an attempt of an offload; Pages and PagesEnd follow.
type Migrate struct {
	Offload      uint64
	Attempt      uint32
	Candidate    uint32
	Continuation Continuation
	Args         []uint64 // as slots, v128 as two
	Image        Image
}

// Pages carries a piece of the delta stream of the Migrate or Reintegrate before it.
type Pages struct {
	Offload uint64
	Attempt uint32
	Data    []byte
}

// PagesEnd ends a delta stream; Bytes is its length.
type PagesEnd struct {
	Offload uint64
	Attempt uint32
	Bytes   uint64
}

// HomeCall asks the device to carry out a host call. Call numbers home calls, output and notes of an attempt from
// 1 upwards, in one series.
type HomeCall struct {
	Offload uint64
	Attempt uint32
	Call    uint64
	Request []byte
}

// HomeResult answers a HomeCall.
type HomeResult struct {
	Offload  uint64
	Attempt  uint32
	Call     uint64
	Response []byte
}

// Output is bytes written to a stream of the device, one-way: the clone assumes that the write succeeds.
type Output struct {
	Offload uint64
	Attempt uint32
	Call    uint64
	Handle  uint64
	Data    []byte
}

// Credit lets the clone have sent up to Limit bytes of Output since the attempt began. The limit only rises.
type Credit struct {
	Offload uint64
	Attempt uint32
	Limit   uint64
}

// Note is a journal entry for a call that the clone answered itself (a clock, a sleep).
type Note struct {
	Offload  uint64
	Attempt  uint32
	Call     uint64
	Request  []byte
	Response []byte
}

// Outcome says how the offloaded call ended.
type Outcome uint8

// The outcomes.
const (
	OutcomeInvalid    Outcome = iota
	OutcomeResults            // it returned
	OutcomeTrap               // a trap of the guest
	OutcomeException          // an exception that nothing in the call caught
	OutcomeExit               // the guest called proc_exit
	OutcomeHandedBack         // the clone gave up (a limit of its own): nothing happened, run it yourself
	numOutcomes
)

func (o Outcome) String() string {
	if o < numOutcomes {
		return [numOutcomes]string{"invalid", "results", "trap", "exception", "exit", "handed back"}[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// Reintegrate ends an attempt on the clone; Pages and PagesEnd follow unless it was handed back.
type Reintegrate struct {
	Offload   uint64
	Attempt   uint32
	Outcome   Outcome
	Results   []uint64
	Trap      uint8
	Exit      uint32
	Detail    string
	Calls     uint64 // the last Call number used in this attempt
	ExecNanos uint64 // the clone's own time in guest code and its host calls
	Engine    string // that the call ran on; empty: the one of Welcome
	Image     Image
}

// Commit tells the clone that the device has merged, and that State is the state of both.
type Commit struct {
	Offload uint64
	Attempt uint32
	State   ID
}

// CancelReason says why an attempt was given up.
type CancelReason uint8

// The reasons to cancel.
const (
	CancelInvalid   CancelReason = iota
	CancelOvertaken              // the device ran the call itself
	CancelOutput                 // an output failed on the device
	CancelDistrust               // the clone broke a rule
	CancelStopped                // the process ends
	numCancelReasons
)

func (c CancelReason) String() string {
	if c < numCancelReasons {
		return [numCancelReasons]string{"invalid", "overtaken", "output failed", "distrust", "stopped"}[c]
	}
	return fmt.Sprintf("reason %d", uint8(c))
}

// Cancel fences an attempt: the clone drops it and goes back to its last committed state.
type Cancel struct {
	Offload uint64
	Attempt uint32
	Reason  CancelReason
}

// Code says why something was refused.
type Code uint8

// The codes of Refuse and Bye.
const (
	CodeInvalid     Code = iota
	CodeDone             // an ordinary end (Bye)
	CodeVersion          // versions of the protocol or of the code differ
	CodeUnsupported      // a kind of continuation, an encoding, an engine limit
	CodeBase             // the base state is not the one held
	CodeDigest           // contents do not have the digest announced
	CodeLimit            // memory, time, sessions, bytes
	CodeFenced           // attempt was cancelled or is not the current one
	CodeUnknown          // session or offload not known
	CodeProtocol         // a message out of place or out of bounds
	CodeInternal         // fault of the refusing side
	CodeDenied           // who asks may not
	numCodes
)

func (c Code) String() string {
	if c < numCodes {
		return [numCodes]string{"invalid", "done", "version", "unsupported", "base", "digest", "limit", "fenced", "unknown",
			"protocol", "internal", "denied"}[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Refuse answers what a side will not do; the session goes on.
type Refuse struct {
	Offload uint64
	Attempt uint32
	Code    Code
	Text    string
}

// Sync asks the clone where it stands.
type Sync struct{}

// Range is a run of memory pages of 4 KiB.
type Range struct{ First, Count uint32 }

// SyncState answers Sync, and is sent unasked once the clone is ready to run: the last committed state, and the
// pages written since, which the next delta must cover besides the device's own.
type SyncState struct {
	State       ID
	MemoryBytes uint64
	Written     []Range // ascending, apart
}

// FilesKind says what a Files message is; package replica has the layouts.
type FilesKind uint8

// The kinds. Of those up to FilesLast, device and clone each send their own.
const (
	FilesInvalid FilesKind = iota
	FilesStart             // device: the versions that an attempt works on, before its Migrate
	FilesGive              // device: objects and contents, asked for or not
	FilesWant              // clone: what it lacks
	FilesBack              // clone: what became of the trees, before Reintegrate
	FilesData              // clone: chunks that FilesBack names
	FilesHave              // device, of a session without a process: what it could give
	FilesMiss              // node: what of that it lacks
	FilesKept              // node: what was given is on disk
	FilesCheck             // device: the node is to check what it keeps; node: how far it is, and what came of it
	FilesPacked            // device: FilesGive, as the next part of a compressed stream
	FilesLast
)

// Files carries what belongs to the files of an attempt. In a session that only brings files, Offload and Attempt are 1.
type Files struct {
	Offload uint64
	Attempt uint32
	Kind    FilesKind
	Data    []byte
}

// Bye ends the session, or refuses to begin one.
type Bye struct {
	Code Code
	Text string
}

// Ping asks for a Pong with the same stamp.
type Ping struct{ Stamp uint64 }

// Pong answers Ping.
type Pong struct{ Stamp uint64 }

// Ack carries nothing but the acknowledgement in its header.
type Ack struct{}

// Type implements Message.
func (*Hello) Type() Type       { return TypeHello }
func (*Welcome) Type() Type     { return TypeWelcome }
func (*Module) Type() Type      { return TypeModule }
func (*Migrate) Type() Type     { return TypeMigrate }
func (*Pages) Type() Type       { return TypePages }
func (*PagesEnd) Type() Type    { return TypePagesEnd }
func (*HomeCall) Type() Type    { return TypeHomeCall }
func (*HomeResult) Type() Type  { return TypeHomeResult }
func (*Output) Type() Type      { return TypeOutput }
func (*Credit) Type() Type      { return TypeCredit }
func (*Note) Type() Type        { return TypeNote }
func (*Reintegrate) Type() Type { return TypeReintegrate }
func (*Commit) Type() Type      { return TypeCommit }
func (*Cancel) Type() Type      { return TypeCancel }
func (*Refuse) Type() Type      { return TypeRefuse }
func (*Sync) Type() Type        { return TypeSync }
func (*SyncState) Type() Type   { return TypeSyncState }
func (*Bye) Type() Type         { return TypeBye }
func (*Ping) Type() Type        { return TypePing }
func (*Pong) Type() Type        { return TypePong }
func (*Ack) Type() Type         { return TypeAck }

// Type implements Message.
func (*Files) Type() Type { return TypeFiles }
