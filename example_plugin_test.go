package clonecloud_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud"
)

// wasm reads a plug-in, whose source stands beside it.
func wasm(name string) []byte {
	module, err := os.ReadFile("testdata/plugin/" + name + ".wasm")
	if err != nil {
		panic(err)
	}
	return module
}

// An application embeds a plug-in: it is loaded once, gets its input through its memory, and the expensive one of its
// functions runs on a clone.
func ExampleLoad() {
	ctx := context.Background()
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
	defer cloud.Close()
	program, err := clonecloud.Load(ctx, clonecloud.Config{
		Module: wasm("plugin"), Cloud: cloud, Offload: clonecloud.OffloadListed, Functions: []string{"hash"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer program.Close()
	plugin, err := program.Start(ctx, clonecloud.StartConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer plugin.Close()

	room, err := plugin.Call(ctx, "room") // where there is room for input
	if err != nil {
		fmt.Println(err)
		return
	}
	text := []byte("what is to be hashed")
	if err := plugin.Write(uint32(room[0]), text); err != nil {
		fmt.Println(err)
		return
	}
	hash, err := plugin.Call(ctx, "hash", uint64(len(text)), 1000)
	if err != nil {
		fmt.Println(err)
		return
	}
	report, err := plugin.Report()
	if err != nil {
		fmt.Println(err)
		return
	}
	offloads, _ := report.Offloads()
	fmt.Printf("%08x, %d call on the clone\n", hash[0], offloads)
	// Output: 6fefc6f5, 1 call on the clone
}

// What a plug-in can do is known once it is loaded.
func ExampleProgram_Exports() {
	program, err := clonecloud.Load(context.Background(), clonecloud.Config{Module: wasm("plugin")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer program.Close()
	for _, signature := range program.Exports() {
		fmt.Println(signature)
	}
	// Output:
	// _initialize () -> ()
	// count () -> (i32)
	// room () -> (i32)
	// hash (i32 i32) -> (i32)
	// upper (i32) -> ()
	// forever () -> (i32)
	// fail () -> (i32)
	// half (i64) -> (f64)
}

// The application goes on while the clone works. The process is busy meanwhile.
func ExampleProcess_Go() {
	ctx := context.Background()
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
	defer cloud.Close()
	program, err := clonecloud.Load(ctx, clonecloud.Config{
		Module: wasm("plugin"), Cloud: cloud, Offload: clonecloud.OffloadListed, Functions: []string{"hash"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer program.Close()
	plugin, err := program.Start(ctx, clonecloud.StartConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	call := plugin.Go(ctx, "hash", 1<<16, 4000)
	if _, err := plugin.Call(ctx, "count"); errors.Is(err, clonecloud.ErrBusy) {
		fmt.Println("count:", err)
	}
	// ... the application does something else ...
	hash, err := call.Wait(ctx)
	fmt.Printf("hash: %08x %v\n", hash, err)
	count, err := plugin.Call(ctx, "count")
	fmt.Println("count:", count, err)
	// Output:
	// count: process is busy with a call
	// hash: [cd9c9dc5] <nil>
	// count: [101] <nil>
}

// A call on a clone ends when its context does, whatever the clone is at. The process has ended then.
func ExampleProcess_Call_cancelled() {
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
	defer cloud.Close()
	program, err := clonecloud.Load(context.Background(), clonecloud.Config{
		Module: wasm("plugin"), Cloud: cloud, Offload: clonecloud.OffloadListed, Functions: []string{"forever"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer program.Close()
	plugin, err := program.Start(context.Background(), clonecloud.StartConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	impatient := errors.New("the user has left")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Second, impatient)
	defer cancel()
	_, err = plugin.Call(ctx, "forever")
	fmt.Println(errors.Is(err, impatient))
	_, err = plugin.Call(context.Background(), "count")
	fmt.Println(errors.Is(err, clonecloud.ErrEnded))
	// Output:
	// true
	// true
}

// Many processes of one program run at once, each with a memory and a clone of its own.
func ExampleProgram_Start() {
	ctx := context.Background()
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
	defer cloud.Close()
	program, err := clonecloud.Load(ctx, clonecloud.Config{
		Module: wasm("plugin"), Cloud: cloud, Offload: clonecloud.OffloadListed, Functions: []string{"count"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer program.Close() // and its processes
	var counts [3]uint64
	var wg sync.WaitGroup
	for i := range counts {
		plugin, err := program.Start(ctx, clonecloud.StartConfig{})
		if err != nil {
			fmt.Println(err)
			return
		}
		wg.Go(func() {
			for range i + 1 {
				if n, err := plugin.Call(ctx, "count"); err == nil {
					counts[i] = n[0]
				}
			}
		})
	}
	wg.Wait()
	fmt.Println(counts)
	// Output: [101 102 103]
}
