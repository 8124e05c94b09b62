// Package migrate captures a process, sends it, and takes it over: the part of an offload that is the same on the
// device and on a node. It knows nothing of when or why.
//
// A process's state is an Image (globals, dropped segments, WASI state) and the pages of its memory, which travel as
// a delta against a state that the other side holds. A side that must not be hurt by a bad delta stages it: Stage
// verifies it whole, Check judges the image, Grow is the last step that can fail, and then Apply writes all. A
// clone, which may be thrown away, lets pages go straight into its memory: ReceiveInto.
//
// A Program whose code was made with rewrite.Options.Detach keeps the initial memory once, and its instances share it
// copy-on-write where the system can.
//
// The Journal holds what the host answered during an offload, and the Replayer answers a fallback from it.
package migrate
