# make build   bin/kiln, with what it carries inside it
# make demo    build, then run examples/hello with a throw-away data directory
# make test    all tests, as whoever you are
# make test-heavy  files of 8 GiB, ten million entries: takes an hour and 40 GB
# make check   what must hold before a change lands: format, vet, staticcheck, race
# make self    kiln builds kiln in its own containers, and prints the ware id
# make test-self  that it does so the same way everywhere: takes minutes
# make test-docker  images, functions and runs under a Docker Engine: needs root and dockerd
# make test-podman  runs under podman, as whoever you are: needs subordinate ids
# make test-cluster  runners in a real Kubernetes with Kueue: builds one first, minutes
# make cluster  builds a Kubernetes with Kueue that tests run in: minutes, and 4 GB of Go's cache
# make bench   benchmarks, three times each
# make steps   trivial steps, timed as whole processes (needs busybox-static, bc)
#
# Needed: Go, a C compiler with a static libc, make, git.

.PHONY: build embed executor kube toolbox test test-heavy check self test-self test-docker test-podman cluster test-cluster in-cluster bench demo clean
.DELETE_ON_ERROR:

E     := internal/embedded
FILES := $(E)/files

CC ?= cc
GOBUILD := go build -trimpath -buildvcs=false
# Packages tested at once: tests wait for disks and servers as much as they compute.
ATONCE := $(shell echo $$((2 * $$(nproc))))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

build: embed
	CGO_ENABLED=0 $(GOBUILD) -ldflags '-s -w' -o bin/kiln ./cmd/kiln
	@cmp -s go.sum examples/self/go.sum || cp go.sum examples/self/go.sum

# The go command knows what is out of date. A file is replaced only when its bytes
# change, so that nothing that embeds it is built again for nothing.
replace = { cmp -s $@.new $@ && rm $@.new || mv $@.new $@; }

embed: executor toolbox kube
	@test -e $(FILES)/toolbox.id -a -e $(FILES)/toolbox.applets || rm -f $(E)/carried.go
	@cd $(E) && go run ./gen

executor: $(FILES)/executor $(FILES)/enter
kube: $(FILES)/kube
toolbox: $(FILES)/toolbox $(FILES)/toolbox-languages

.PHONY: $(FILES)/executor $(FILES)/kube $(FILES)/toolbox $(FILES)/toolbox-languages

# The executor is static, since it runs in containers that hold nothing else.
# Its build ids go: they tell of the C compiler's place, and make the same code another file.
$(FILES)/executor: $(FILES)/enter
	@CGO_ENABLED=1 $(GOBUILD) -tags 'osusergo netgo' -ldflags '-s -w -buildid= -linkmode external -extldflags "-static -Wl,--build-id=none"' \
		-o $@.new ./cmd/kiln-executor && $(replace)

# No C library, no build id: a few pages that a container starts at once.
$(FILES)/enter: cmd/kiln-enter/enter.c
	$(CC) -Os -Wall -Wextra -Werror -static -nostdlib -ffreestanding -fno-stack-protector \
		-fno-asynchronous-unwind-tables -fno-pie -no-pie -Wl,--build-id=none -Wl,-z,noexecstack -s -o $@ $<

$(FILES)/kube:
	@CGO_ENABLED=0 $(GOBUILD) -ldflags '-s -w' -o $@.new ./cmd/kiln-kube && $(replace)
$(FILES)/toolbox:
	@CGO_ENABLED=0 $(GOBUILD) -ldflags '-s -w' -tags core -o $@.new ./cmd/kiln-toolbox && $(replace)
$(FILES)/toolbox-languages:
	@CGO_ENABLED=0 $(GOBUILD) -ldflags '-s -w' -o $@.new ./cmd/kiln-toolbox && $(replace)

test: build
	go test -p $(ATONCE) -timeout=30m ./...

test-heavy:
	KILN_TEST_HEAVY=1 go test -v -count=1 -timeout=3h -run='/heavy$$|TenMillion' ./pack/packtest

# A process under the race detector sleeps for a second before it ends, unless told not to.
check: build
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt"; exit 1; }
	go vet ./...
	go vet -tags core ./internal/toolbox ./cmd/kiln-toolbox
	go run $(STATICCHECK) ./...
	GORACE=atexit_sleep_ms=0 go test -race -p $(ATONCE) -timeout=30m ./...
	@git diff --exit-code -- docs examples/self/go.sum || { echo "generated files are stale: make build; go test ./cmd/kiln -update"; exit 1; }

# The lock file, which names the toolbox of another build, would hold this one up.
self: build
	@rm -f examples/self/kiln.lock.hcl
	@bin/kiln run examples/self --var goroot="$$(go env GOROOT)" --var modcache="$$(go env GOMODCACHE)"

test-self: build
	@rm -f examples/self/kiln.lock.hcl
	KILN_TEST_SELF=1 go test -v -count=1 -timeout=1h -run=Self ./examples/self

test-docker: build
	KILN_TEST_DOCKER=1 go test -v -count=1 -timeout=20m -run=Docker ./examples/image ./exec/function ./exec/docker

test-podman: build
	KILN_TEST_PODMAN=1 go test -v -count=1 -timeout=20m -run=Podman ./exec/function ./exec/docker

# A module of its own. bin/cluster/cluster says how it is used, and what it needs of Debian.
K8S     := k8s.io/component-base/version
K8SINFO := -X $(K8S).gitVersion=v1.34.2 -X $(K8S).gitMajor=1 -X $(K8S).gitMinor=34 -X $(K8S).gitTreeState=clean \
	-X $(K8S).buildDate=1970-01-01T00:00:00Z
cluster:
	@mkdir -p bin/cluster
	cd exec/kubernetes/cluster && CGO_ENABLED=0 $(GOBUILD) -ldflags '-s -w $(K8SINFO) $(subst $(K8S),k8s.io/client-go/pkg/version,$(K8SINFO))' \
		-o $(CURDIR)/bin/cluster/ . ./kube sigs.k8s.io/kueue/cmd/kueue

# Beside a cluster of their own, which ends with them: as root, or with subordinate ids.
CLUSTERTESTS ?= .
test-cluster: build cluster
	go test -c -o bin/cluster/ ./exec/kubernetes
	@$(MAKE) --no-print-directory in-cluster
in-cluster:
	bin/cluster/cluster -apply examples/cluster \
		-kueue-config "$$(cd exec/kubernetes/cluster && go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)/config" \
		sh -c 'cd exec/kubernetes && KILN_TEST_REQUIRE=kubernetes ../../bin/cluster/kubernetes.test -test.timeout=30m -test.parallel=4 -test.run "$(CLUSTERTESTS)"'

bench: build
	go test -run='^$$' -bench=. -benchmem -count=3 ./...

# Trivial steps as whole processes; compare with peers' in the same minute.
steps: build
	@cmd/kiln/testdata/bench/steps.sh bin/kiln chain 50 busybox
	@cmd/kiln/testdata/bench/steps.sh bin/kiln chain 50 toolbox
	@cmd/kiln/testdata/bench/steps.sh bin/kiln wide 200 busybox
	@cmd/kiln/testdata/bench/steps.sh bin/kiln shared 50 busybox

demo: build
	@d=$$(mktemp -d) && trap 'chmod -R u+w "$$d"; rm -rf "$$d"' EXIT && cp -R examples/hello "$$d" && \
	 KILN_DATA_HOME=$$d/data KILN_CACHE_HOME=$$d/cache KILN_CONFIG_HOME=$$d/config bin/kiln run "$$d/hello"

clean:
	rm -rf bin $(E)/carried.go $(filter-out $(FILES)/README,$(wildcard $(FILES)/*))
