//go:build !unix

package docs

import "os/exec"

const binary = "clonecloud.exe"

func group(*exec.Cmd) (end func()) { return func() {} }
