package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

func newCloudCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cloud",
		Short: "Name the clouds that run may use, and ask how they are",
		Args:  group,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCloudAddCommand(), newCloudCheckCommand(), newCloudListCommand(), newCloudRemoveCommand(), newCloudStatusCommand())
	return cmd
}

func clouds() (clonecloud.Clouds, error) {
	dir, err := configDir()
	return clonecloud.Clouds(filepath.Join(dir, "clouds")), err
}

// maxAddress bounds what is read as an address.
const maxAddress = 8 << 10

// address finds an address that is given directly, as file://PATH, as env://NAME, or as - for stdin, so that it
// need not stand on a command line, which others can see.
func address(text string, stdin io.Reader) (string, error) {
	read := func(r io.Reader) (string, error) {
		b, err := io.ReadAll(io.LimitReader(r, maxAddress))
		return strings.TrimSpace(string(b)), err
	}
	switch {
	case text == "-":
		return read(stdin)
	case strings.HasPrefix(text, "file://"):
		f, err := os.Open(strings.TrimPrefix(text, "file://"))
		if err != nil {
			return "", fmt.Errorf("read the address: %w", err)
		}
		defer f.Close()
		return read(f)
	case strings.HasPrefix(text, "env://"):
		name := strings.TrimPrefix(text, "env://")
		v := strings.TrimSpace(os.Getenv(name))
		if v == "" {
			return "", fmt.Errorf("variable %s, which is to hold the address, is not set", name)
		}
		return v, nil
	}
	return text, nil
}

// remoteConfig is how this user reaches the node behind an address.
func remoteConfig(address string) (clonecloud.RemoteCloudConfig, error) {
	dir, err := configDir()
	cfg := clonecloud.RemoteCloudConfig{Address: address, DeviceFile: filepath.Join(dir, "device.key")}
	cfg.MemoryDir = knownDir()
	return cfg, err
}

// knownDir is where what runs learn stays, "" if there is no such place.
func knownDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "clonecloud", "known")
}

// filesDir is where images of directories and plans of changes stand, "" if there is no home.
func filesDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "clonecloud", "files")
}

// openCloud finds the cloud that a flag names: one that was added, or an address.
func openCloud(cmd *cobra.Command, flag, name string) (clonecloud.Cloud, error) {
	text := name
	if !strings.Contains(name, "://") {
		c, err := clouds()
		if err != nil {
			return nil, err
		}
		if text, err = c.Address(name); errors.Is(err, clonecloud.ErrNoCloud) {
			return nil, usageError{cmd, fmt.Sprintf("%s %q: no such cloud: there are %s; clonecloud cloud add names one", flag, name,
				strings.Join(append([]string{"local"}, cloudNames()...), ", "))}
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
	}
	text, err := address(text, cmd.InOrStdin())
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, name, err)
	}
	cfg, err := remoteConfig(text)
	if err != nil {
		return nil, err
	}
	c, err := clonecloud.NewRemoteCloud(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, badAddress(err))
	}
	return c, nil
}

// badAddress says what an address is, without the one that is wrong: it may hold a secret all the same.
func badAddress(err error) error {
	if errors.Is(err, clonecloud.ErrAddress) {
		return fmt.Errorf("%w: clonecloud://HOST:PORT/?token=... is wanted, as a node prints it at its start", err)
	}
	return err
}

// askPatience is how long a node has to say how it is.
const askPatience = 10 * time.Second

func query(ctx context.Context, address string) (clonecloud.NodeStatus, error) {
	ctx, stop := context.WithTimeout(ctx, askPatience)
	defer stop()
	cfg, err := remoteConfig(address)
	if err != nil {
		return clonecloud.NodeStatus{}, err
	}
	return clonecloud.QueryNode(ctx, cfg)
}

func newCloudAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME ADDRESS",
		Short: "Give a node a name for run --cloud NAME",
		Long: `Give a node a name for run --cloud NAME. ADDRESS is what the node printed when it started. It holds a secret: give it
as file://PATH, as env://NAME or as - for standard input where other users can see command lines.

The node is asked how it is; one that does not answer is added all the same.`,
		Example: `  clonecloud cloud add home file://address.txt`,
		Args:    exactly(2, "name a cloud, and give its address"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runCloudAdd(cmd, args[0], args[1]) },
	}
}

func runCloudAdd(cmd *cobra.Command, name, text string) error {
	addr, err := address(text, cmd.InOrStdin())
	if err != nil {
		return fmt.Errorf("cloud %s: %w", name, err)
	}
	c, err := clouds()
	if err != nil {
		return err
	}
	if err := c.Add(name, addr); err != nil {
		return fmt.Errorf("cloud %s: %w", name, badAddress(err))
	}
	s, err := query(cmd.Context(), addr)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "clonecloud: %s is added, but does not answer now: %v\n", name, oneLine(err))
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "clonecloud: %s is added: %s %s, %v away\n", name, s.Engine, s.Arch, s.RTT.Round(10*time.Microsecond))
	return nil
}

func newCloudListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the clouds that have names, with their addresses but for the secrets",
		Args:  exactly(0, "it takes no arguments"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runCloudList(cmd, asJSON) },
	}
	addJSON(cmd, &asJSON)
	return cmd
}

// cloudVersion is the schema version of what cloud list and cloud status write as JSON.
const cloudVersion = 1

func runCloudList(cmd *cobra.Command, asJSON bool) error {
	c, err := clouds()
	if err != nil {
		return err
	}
	list, err := c.List()
	if err != nil {
		return err
	}
	if asJSON {
		type item struct {
			Name    string `json:"name"`
			Address string `json:"address,omitempty"`
		}
		out := struct {
			Version int    `json:"version"`
			Clouds  []item `json:"clouds"`
		}{cloudVersion, []item{}}
		for _, n := range list {
			out.Clouds = append(out.Clouds, item{n.Name, n.Redacted})
		}
		return writeJSON(cmd.OutOrStdout(), out)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, n := range list {
		if n.Redacted == "" {
			n.Redacted = "(damaged: add it again)"
		}
		fmt.Fprintf(w, "%s\t%s\n", n.Name, n.Redacted)
	}
	w.Flush()
	_, err = cmd.OutOrStdout().Write(b.Bytes())
	return err
}

func newCloudRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "remove NAME",
		Short:             "Forget the name of a cloud, its address, and what runs have learned of it",
		Args:              exactly(1, "name a cloud"),
		RunE:              func(_ *cobra.Command, args []string) error { return runCloudRemove(args[0]) },
		ValidArgsFunction: completeClouds(1),
	}
}

func runCloudRemove(name string) error {
	c, err := clouds()
	if err != nil {
		return err
	}
	addr, _ := c.Address(name) // "": a file that cannot be read can be removed all the same
	if err := c.Remove(name); err != nil {
		return noCloud(name, err)
	}
	if addr == "" || knownDir() == "" {
		return nil
	}
	list, err := c.List()
	if err != nil {
		return err
	}
	for _, n := range list {
		if other, err := c.Address(n.Name); err == nil && other == addr {
			return nil // the node has another name, under which it stays known
		}
	}
	return clonecloud.ForgetCloud(addr, knownDir())
}

// noCloud adds to the error of a cloud that is not there which ones are.
func noCloud(name string, err error) error {
	if !errors.Is(err, clonecloud.ErrNoCloud) {
		return err
	}
	names := cloudNames()
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("%w; do you mean %s?", err, near)
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: none has a name yet; clonecloud cloud add gives one", err)
	}
	return fmt.Errorf("%w: there are %s", err, strings.Join(names, ", "))
}

func newCloudStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Ask clouds how they are: all that have names, or those given",
		Args:  cobra.ArbitraryArgs,
		RunE:  func(cmd *cobra.Command, args []string) error { return runCloudStatus(cmd, args, asJSON) },

		ValidArgsFunction: completeClouds(0),
	}
	addJSON(cmd, &asJSON)
	return cmd
}

// cloudStatus is what is known of one cloud.
type cloudStatus struct {
	Name   string                 `json:"name"`
	Error  string                 `json:"error,omitempty"` // why it did not answer
	Status *clonecloud.NodeStatus `json:"status,omitempty"`
}

// errSilent is that a cloud did not answer; its line has said so.
var errSilent = errors.New("not all clouds answered")

func runCloudStatus(cmd *cobra.Command, names []string, asJSON bool) error {
	c, err := clouds()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		list, err := c.List()
		if err != nil {
			return err
		}
		for _, n := range list {
			names = append(names, n.Name)
		}
	}
	all := make([]cloudStatus, len(names))
	silent := false
	for i, name := range names {
		all[i].Name = name
		addr, err := c.Address(name)
		if errors.Is(err, clonecloud.ErrNoCloud) || errors.Is(err, clonecloud.ErrConfig) {
			return noCloud(name, err)
		}
		var s clonecloud.NodeStatus
		if err == nil {
			s, err = query(cmd.Context(), addr)
		}
		if err != nil {
			all[i].Error, silent = oneLine(err), true
			continue
		}
		all[i].Status = &s
	}
	if err := writeCloudStatus(cmd.OutOrStdout(), all, asJSON); err != nil {
		return err
	}
	if silent {
		return errSilent
	}
	return nil
}

func writeCloudStatus(stdout io.Writer, all []cloudStatus, asJSON bool) error {
	if asJSON {
		return writeJSON(stdout, struct {
			Version int           `json:"version"`
			Clouds  []cloudStatus `json:"clouds"`
		}{cloudVersion, all})
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range all {
		if s.Status == nil {
			fmt.Fprintf(w, "%s\tdoes not answer\t%s\n", s.Name, s.Error)
			continue
		}
		n := s.Status
		engines := strings.Join(n.Engines, ", ")
		fmt.Fprintf(w, "%s\t%s %s\t%v away\tup %v\t%d devices, %d clones, %d at work\n", s.Name, cmp.Or(engines, n.Engine), n.Arch,
			n.RTT.Round(10*time.Microsecond), time.Duration(n.Uptime*float64(time.Second)).Round(time.Second), n.Devices, n.Clones, n.Running)
	}
	w.Flush()
	_, err := stdout.Write(b.Bytes())
	return err
}
