//go:build !unix

package node_test

func stopSelf() { select {} }
