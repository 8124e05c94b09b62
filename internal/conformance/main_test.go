package conformance

import (
	"flag"
	"os"
	"testing"
)

var linkFlag = flag.String("link", "memory",
	"where clones are: memory, in this process behind an in-memory link, or tls, in worker processes of a node on loopback")

func TestMain(m *testing.M) {
	if code, child := ChildMain(); child {
		os.Exit(code)
	}
	if len(os.Args) == 4 && os.Args[1] == crashChild {
		os.Exit(crashMain(os.Args[2], os.Args[3]))
	}
	flag.Parse()
	os.Exit(m.Run())
}
