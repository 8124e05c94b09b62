# For people; .ci/run is the whole of it.

.PHONY: all build node check test race lint cross wasmtime dist newcomer demo fuzz generate clean

FUZZTIME ?= 30s

all: build

build:
	go build -o clonecloud ./cmd/clonecloud

# A node's: with wasmtime, which takes a C compiler, on Linux.
node:
	CGO_ENABLED=1 go build -tags wasmtime -o clonecloud ./cmd/clonecloud

# What to run before a commit.
check:
	.ci/run format vet lint test cross

test:
	go test ./...

race:
	.ci/run race

lint:
	.ci/run lint

cross:
	.ci/run cross

wasmtime:
	.ci/run wasmtime

# Archives, packages, bills of materials and checksums, in dist/. VERSION takes the place of git's tag.
dist:
	go run ./packaging/dist

# What somebody new does, in a clean root: takes root and the network.
newcomer:
	packaging/newcomer.sh

demo:
	go run ./cmd/clonecloud demo

# Each fuzz target for FUZZTIME.
fuzz:
	@go list ./... | while read -r p; do \
		go test -list '^Fuzz' $$p | grep '^Fuzz' | while read -r f; do \
			echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$p </dev/null || exit 1; \
		done || exit 1; \
	done

# The messages' code from their .proto file; needs protoc and protoc-gen-go.
generate:
	go generate ./...

clean:
	rm -rf clonecloud dist
