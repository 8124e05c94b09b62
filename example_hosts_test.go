package clonecloud_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/clonecloud/clonecloud"
)

// ask loads the plug-in that calls the application, forces one of its functions onto a clone, and calls it. text is put
// where the plug-in looks for it.
func ask(app clonecloud.HostModule, function, text string, args ...uint64) {
	ctx := context.Background()
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
	defer cloud.Close()
	program, err := clonecloud.Load(ctx, clonecloud.Config{
		Module: wasm("hosts"), Hosts: map[string]clonecloud.HostModule{"app": app},
		Cloud: cloud, Offload: clonecloud.OffloadListed, Functions: []string{function},
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
	room, err := plugin.Call(ctx, "room")
	if err != nil {
		fmt.Println(err)
		return
	}
	at := uint32(room[0])
	if err := plugin.Write(at, []byte(text)); err != nil {
		fmt.Println(err)
		return
	}
	result, err := plugin.Call(ctx, function, args...)
	if err != nil {
		fmt.Println(err)
		return
	}
	report, err := plugin.Report()
	if err != nil {
		fmt.Println(err)
		return
	}
	answer := make([]byte, 8)
	if err := plugin.Read(at+uint32(len(text)), answer); err != nil {
		fmt.Println(err)
		return
	}
	calls := 0
	for _, f := range report.Functions {
		calls += f.HomeCalls
	}
	fmt.Printf("%s: %v, %.4q in its memory; called from a clone: %d times\n", function, result, answer, calls)
}

// app is an application with functions of all three kinds.
func app() clonecloud.HostModule {
	return clonecloud.HostModule{
		"price":  price(),
		"lookup": lookup(map[string]string{"Bern": "7 °C"}),
		"scale":  scale(10),
		"save":   save(new([]string)),
	}
}

// price gets and gives numbers.
func price() clonecloud.HostFunc {
	return clonecloud.HostFunc{
		Params: []clonecloud.ValueType{clonecloud.I32}, Results: []clonecloud.ValueType{clonecloud.I32},
		Call: func(_ context.Context, call *clonecloud.HostCall) error {
			call.SetI32(0, 100*call.I32(0))
			return nil
		},
	}
}

// lookup has the signature int lookup(const char *key, int n, char *to, int space): it reads one part of the guest's memory
// and writes another.
func lookup(table map[string]string) clonecloud.HostFunc {
	i32 := clonecloud.I32
	return clonecloud.HostFunc{
		Params: []clonecloud.ValueType{i32, i32, i32, i32}, Results: []clonecloud.ValueType{i32},
		Ranges: []clonecloud.Range{
			{Pointer: 0, Length: 1, Direction: clonecloud.In},
			{Pointer: 2, Length: 3, Direction: clonecloud.Out},
		},
		Call: func(_ context.Context, call *clonecloud.HostCall) error {
			answer := table[string(call.Ranges[0])]
			n := copy(call.Ranges[1], answer)
			call.Ranges[1] = call.Ranges[1][:n] // what is behind stays as it is
			call.SetI32(0, int32(n))
			return nil
		},
	}
}

// The application gives the guest numbers for numbers.
func ExampleHostFunc_byValue() {
	ask(app(), "total", "", 4)
	// Output: total: [1000], "\x00\x00\x00\x00" in its memory; called from a clone: 4 times
}

// The application reads and writes parts of the guest's memory, which travel with the call.
func ExampleHostFunc_ranges() {
	ask(app(), "find", "Bern", 4, 100)
	// Output: find: [5], "7 °C" in its memory; called from a clone: 1 times
}

// The application gets all of the guest's memory: what calls such a function stays on the device.
func ExampleHostFunc_pinned() {
	var saved []string
	functions := app()
	functions["save"] = save(&saved)
	ask(functions, "keep", "edqmnx", 6)
	fmt.Println(saved)
	// Output:
	// keep: [], "\x00\x00\x00\x00" in its memory; called from a clone: 0 times
	// [deploy]
}

// scale multiplies an array of numbers in place.
func scale(by float64) clonecloud.HostFunc {
	return clonecloud.HostFunc{
		Params: []clonecloud.ValueType{clonecloud.I32, clonecloud.I32},
		Ranges: []clonecloud.Range{{Pointer: 0, Length: 1, Size: 8, Direction: clonecloud.InOut}},
		Call: func(_ context.Context, call *clonecloud.HostCall) error {
			for b := call.Ranges[0]; len(b) > 0; b = b[8:] {
				v := math.Float64frombits(binary.LittleEndian.Uint64(b))
				binary.LittleEndian.PutUint64(b, math.Float64bits(v*by))
			}
			return nil
		},
	}
}

// save keeps what it is handed.
func save(to *[]string) clonecloud.HostFunc {
	return clonecloud.HostFunc{
		Params: []clonecloud.ValueType{clonecloud.I32, clonecloud.I32}, Pinned: true,
		Call: func(_ context.Context, call *clonecloud.HostCall) error {
			what := make([]byte, call.Params[1])
			if err := call.Memory.Read(uint32(call.Params[0]), what); err != nil {
				return err // ends the guest
			}
			*to = append(*to, string(what))
			return nil
		},
	}
}
