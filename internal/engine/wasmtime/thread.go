//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

import "runtime"

// The process's first thread has a stack that is too small for a guest. Locked to the main goroutine, it runs no other:
// init is called on it.
func init() { runtime.LockOSThread() }

// elsewhere runs f, for a main goroutine that calls a guest, on another thread.
func elsewhere(f func()) {
	runtime.LockOSThread() // should main have unlocked it
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}
