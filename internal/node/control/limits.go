package control

import "time"

// Limits bound what devices may use. Zero fields have the defaults named.
type Limits struct {
	Devices int `json:"devices"` // served at once, one worker each; default 256
	Clones  int `json:"clones"`  // per device; default 32
	Links   int `json:"links"`   // connections per device; default 64

	Memory       uint64 `json:"memory"`        // bytes of linear memory of one clone; default 1 GiB
	WorkerMemory uint64 `json:"worker_memory"` // bytes of memory that one worker has resident; default 3 GiB

	Exec    time.Duration `json:"exec_ns"`    // guest time of one offload; default 10 min
	Wall    time.Duration `json:"wall_ns"`    // time of one offload, with waiting for the device; default 1 h
	Compile time.Duration `json:"compile_ns"` // time to compile one module; default 2 min
	Output  uint64        `json:"output"`     // bytes that one offload may write to streams; default 4 GiB

	Modules uint64 `json:"modules"` // bytes of modules on disk; default 4 GiB
	Code    uint64 `json:"code"`    // bytes of compiled code on disk; default 8 GiB
	Files   uint64 `json:"files"`   // bytes of the files of one tenant's devices that are kept; default 32 GiB
	Written uint64 `json:"written"` // bytes that one offload may write to files; default 16 GiB
}

func OrDefault[T int | uint64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func (l Limits) WithDefaults() Limits {
	OrDefault(&l.Devices, 256)
	OrDefault(&l.Clones, 32)
	OrDefault(&l.Links, 64)
	OrDefault(&l.Memory, 1<<30)
	OrDefault(&l.WorkerMemory, 3<<30)
	OrDefault(&l.Exec, 10*time.Minute)
	OrDefault(&l.Wall, time.Hour)
	OrDefault(&l.Compile, 2*time.Minute)
	OrDefault(&l.Output, 4<<30)
	OrDefault(&l.Modules, 4<<30)
	OrDefault(&l.Code, 8<<30)
	OrDefault(&l.Files, 32<<30)
	OrDefault(&l.Written, 16<<30)
	return l
}

// Longest is the longest that announced work may say it takes.
func (l Limits) Longest(what string) time.Duration {
	if what == Compiling {
		return l.Compile
	}
	return max(l.Exec, l.Wall)
}

// PassTime is how long a worker may take to make room for one more connection.
const PassTime = 2 * time.Second
