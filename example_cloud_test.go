package clonecloud_test

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/clonecloud/clonecloud"
)

// An application is a node: others send it what is too much for them. Here one process is both.
func ExampleStartNode() {
	ctx := context.Background()
	node, err := clonecloud.StartNode(ctx, clonecloud.NodeConfig{
		Listen: "127.0.0.1:0",
		Worker: []string{os.Args[0], "worker"}, // whose main function calls clonecloud.RunWorker
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	cloud, err := clonecloud.NewRemoteCloud(clonecloud.RemoteCloudConfig{Address: node.Address()})
	if err != nil {
		fmt.Println(err)
		return
	}
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
	hash, err := plugin.Call(ctx, "hash", 1<<16, 10)
	fmt.Printf("%08x %v\n", hash, err)
	report, err := plugin.Report()
	if err != nil {
		fmt.Println(err)
		return
	}
	offloads, _ := report.Offloads()
	fmt.Println(offloads, "offload")
	// Output:
	// [25249dc5] <nil>
	// 1 offload
}

// Events tell what is decided and what comes of it.
func ExampleEvent() {
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
	defer cloud.Close()
	var mu sync.Mutex
	var events []clonecloud.Event
	_, err := clonecloud.Run(context.Background(), clonecloud.Config{
		Module: wasm("plugin"), Invoke: "hash", Params: []uint64{1 << 16, 10},
		Cloud: cloud, Offload: clonecloud.OffloadListed, Functions: []string{"hash"},
		Events: func(e clonecloud.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range events {
		if e.Kind == "decide" || e.Kind == "offloaded" {
			fmt.Println(e.Kind, e.Function, e.Choice)
		}
	}
	// Output:
	// decide hash clone
	// offloaded hash
}
