package conformance

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var linkFlag = flag.String("link", "memory",
	"where clones are: memory, in this process behind an in-memory link, or tls, in worker processes of a node on loopback")

func TestMain(m *testing.M) {
	if code, child := ChildMain(); child {
		os.Exit(code)
	}
	if len(os.Args) == 5 && os.Args[1] == crashChild {
		os.Exit(crashMain(os.Args[2], os.Args[3], os.Args[4]))
	}
	flag.Parse()
	if *enginesFlag != "" {
		if _, err := parsePairings(*enginesFlag); err != nil {
			fmt.Fprintln(os.Stderr, "-engines:", err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}
