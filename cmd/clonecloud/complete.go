package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/examples"
)

// completeModule completes the module; what stands behind it belongs to the program: files.
func completeModule(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return []string{"wasm"}, cobra.ShellCompDirectiveFilterFileExt
}

// completeOneModule completes the only argument.
func completeOneModule(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completeModule(cmd, args, text)
}

// completeClouds completes names of clouds; most bounds how many are given, 0: any number.
func completeClouds(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return cloudNames(), cobra.ShellCompDirectiveNoFileComp
	}
}

// cloudNames are the clouds that have names. Trouble with them is no matter of a completion.
func cloudNames() []string {
	c, err := clouds()
	if err != nil {
		return nil
	}
	list, err := c.List()
	if err != nil {
		return nil
	}
	var names []string
	for _, n := range list {
		names = append(names, n.Name)
	}
	return names
}

// choices completes one of a few words.
func choices(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// engines are those that there are, in this binary or another one.
var engines = []string{"compiler", "interpreter", wasmtimeEngine}

const wasmtimeEngine = "wasmtime"

// hasWasmtime tells whether this binary has wasmtime.
func hasWasmtime() bool {
	return slices.Contains(strings.Fields(clonecloud.Platform().Engines), wasmtimeEngine)
}

// completeEngine completes one of the engines that this binary has.
func completeEngine(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	list := engines
	if !hasWasmtime() {
		list = slices.DeleteFunc(slices.Clone(list), func(e string) bool { return e == wasmtimeEngine })
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// complete gives a flag its completion.
func complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(fmt.Sprintf("BUG: complete --%s: %v", flag, err))
	}
}

// folders completes a flag with folders.
func folders(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// addCompletions tells how the flags of run are completed; others have files, or nothing.
func (o *runOptions) addCompletions(cmd *cobra.Command) {
	complete(cmd, "cloud", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return append([]string{"local\ta node of its own on this machine"}, cloudNames()...), cobra.ShellCompDirectiveNoFileComp
	})
	complete(cmd, "offload", completeFunctions("auto\twhat is measured to pay", "never\tnothing", "always\twhatever may move"))
	complete(cmd, "keep-local", completeFunctions("stdin", "dir:", "env:"))
	complete(cmd, "engine", completeEngine)
	complete(cmd, "clone-engine", completeEngine)
	complete(cmd, "files", choices(filesModes...))
	complete(cmd, "conflict", choices(conflictPolicies...))
	complete(cmd, "dir", folders)
	complete(cmd, "mount", folders)
	complete(cmd, "env", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, v := range os.Environ() {
			name, _, _ := strings.Cut(v, "=")
			names = append(names, name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	complete(cmd, "invoke", func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		list, _ := clonecloud.ExportSignatures(moduleAtHand(args)) // of what is no module there are none
		for _, s := range list {
			names = append(names, s.Name())
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	for i, g := range foreignGroups {
		complete(cmd, g.flag, completeForeign(i))
	}
}

// moduleAtHand is the module that is named, or the only one in the working directory: flags stand before the name. nil: none.
func moduleAtHand(args []string) []byte {
	if len(args) == 0 {
		if args, _ = filepath.Glob("*.wasm"); len(args) != 1 {
			return nil
		}
	}
	bin, err := readModule(args[0], strings.NewReader(""))
	if err != nil {
		return nil
	}
	return bin
}

// completeFunctions completes words and candidates of the module at hand.
func completeFunctions(words ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		// More may follow behind a comma.
		done := text[:strings.LastIndexByte(text, ',')+1]
		list := words
		if done != "" {
			list = nil
		}
		list = append(list[:len(list):len(list)], candidates(moduleAtHand(args))...)
		out := make([]string, len(list))
		for i, w := range list {
			out[i] = done + w
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// candidates are the functions of a module that would be offloaded, the most promising first.
func candidates(bin []byte) []string {
	a, err := clonecloud.Analyze(bin, nil)
	if err != nil {
		return nil
	}
	return a.Candidates()
}

func completeForeign(group int) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
		done := text[:strings.LastIndexByte(text, ',')+1]
		var names []string
		for _, o := range foreignGroups[group].options {
			if o.refuse == "" && !strings.HasSuffix(o.name, "*") {
				names = append(names, done+o.name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// exampleNames are the programs of demo.
func exampleNames() []string {
	var names []string
	for _, p := range examples.Programs() {
		names = append(names, p.Name)
	}
	return names
}
