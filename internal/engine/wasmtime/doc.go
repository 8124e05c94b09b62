// Package wasmtime runs modules on the wasmtime engine: compiled by Cranelift, close to native speed. It is C behind cgo,
// and part of a build that has the tag wasmtime, on Linux, amd64 or arm64; everywhere else the package is empty.
//
// The library comes with the module wasmtime-go, of which nothing else is used: its calls in either direction cost several
// times as much as those here, and it has no way to say what memory is made of, or that exceptions are wanted.
//
// # Memory
//
// Memory is linmem's, behind wasmtime's host memory creator. Compiled code checks no bounds: what a 32-bit address and
// offset reach beyond the memory's size is reserved and not accessible, and the fault is the trap.
//
// # Stacks
//
// A guest runs on the stack of the thread that calls it. Package initialization raises the default size of threads' stacks
// so that a guest has 96 MiB of it, whoever made the thread; the process's first thread keeps its own, and a call that
// happens to begin there goes on on another. So does one into another group, where the guest that called the host has used
// much of the stack. A group runs on one thread at a time: what other goroutines call meanwhile is refused.
//
// A goroutine that ends in a host function (runtime.Goexit, a test's FailNow) takes its thread with it, and its group cannot
// be used or released any more.
//
// # Stopping
//
// As everywhere a run ends at the next host call. A guest holds up no other goroutine and no garbage collection.
//
// # Exceptions
//
// The library does not take exceptions back while their store lives, caught or not: some 50 bytes each, bounded by
// Options.Heap.
//
// # What is refused
//
// Proposals that wazero does not run are off, so that a module runs on both engines or on none. Shared memory is refused
// (it would not be linmem's), and so are imported tags, which the C interface does not know, and tables of more than 10
// million elements.
package wasmtime
