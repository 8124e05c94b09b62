//go:build !unix && !windows

package main

import "os"

// columns is the width of the terminal that f is; false: it is none.
func columns(*os.File) (int, bool) { return 0, false }
