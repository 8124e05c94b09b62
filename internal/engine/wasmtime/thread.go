//go:build wasmtime && cgo && linux && (amd64 || arm64)

package wasmtime

import "runtime"

// The process's first thread has a stack that is too small for a guest. Locked to the main goroutine, it runs no other:
// init is called on it.
func init() { runtime.LockOSThread() }

// elsewhere runs f on another thread, for a main goroutine that calls a guest, or a guest of another group whose own has
// used much of the stack.
func elsewhere(f func()) {
	runtime.LockOSThread() // should main have unlocked it
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	returned := false
	go func() {
		defer close(done)
		f()
		returned = true
	}()
	<-done
	if !returned { // a host function ended its goroutine, which was to be this one
		runtime.Goexit()
	}
}
