// Package wirepb holds the control bodies of frames as protobuf messages. Use them through package wire, which
// checks every field. Field numbers travel: never renumber. Lists are packed columns, so that no small body
// unfolds into many allocations.
package wirepb

//go:generate protoc --go_out=. --go_opt=paths=source_relative wire.proto
