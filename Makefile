# make build   bin/kiln, with its executor and toolbox inside
# make demo    build, then run examples/hello with a throw-away data directory
# make test    all tests, as whoever you are
# make check   what must hold before a change lands: format, vet, staticcheck, race
# make bench   benchmarks, three runs each
#
# What is needed: Go, a C compiler with static libc, git, make.

.PHONY: build check test bench demo executor toolbox embed clean
.DELETE_ON_ERROR:

E       := internal/embedded
FILES   := $(E)/files
SMALL   := -trimpath -buildvcs=false -ldflags='-s -w'
STATIC  := -trimpath -buildvcs=false -tags netgo,osusergo -ldflags='-s -w -extldflags=-static'
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The go command knows best what is out of date; a file is replaced only when
# its bytes change, so nothing that embeds it is built again for nothing.
replace = cmp -s $@.new $@ && rm $@.new || mv $@.new $@

build: embed
	CGO_ENABLED=0 go build $(SMALL) -o bin/kiln ./cmd/kiln

embed: executor toolbox
	@test -e $(FILES)/toolbox.id -a -e $(FILES)/toolbox.applets || rm -f $(E)/carried.go
	@cd $(E) && go run ./gen

executor: $(FILES)/executor
toolbox: $(FILES)/toolbox $(FILES)/toolbox-languages

.PHONY: $(FILES)/executor $(FILES)/toolbox $(FILES)/toolbox-languages
$(FILES)/executor:
	@CGO_ENABLED=1 go build $(STATIC) -o $@.new ./cmd/kiln-executor && $(replace)
$(FILES)/toolbox:
	@CGO_ENABLED=0 go build $(SMALL) -tags core -o $@.new ./cmd/kiln-toolbox && $(replace)
$(FILES)/toolbox-languages:
	@CGO_ENABLED=0 go build $(SMALL) -o $@.new ./cmd/kiln-toolbox && $(replace)

test: build
	go test ./...

check: build
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt"; exit 1; }
	go vet ./...
	go vet -tags core ./internal/toolbox ./cmd/kiln-toolbox
	go run $(STATICCHECK) ./...
	go test -race ./...
	@git diff --exit-code -- docs || { echo "generated files are stale: go test ./cmd/kiln -update"; exit 1; }

bench: build
	go test -run='^$$' -bench=. -benchmem -count=3 ./...

demo: build
	@d=$$(mktemp -d) && trap 'chmod -R u+w "$$d"; rm -rf "$$d"' EXIT && \
	 KILN_DATA_HOME=$$d/data KILN_CACHE_HOME=$$d/cache KILN_CONFIG_HOME=$$d/config bin/kiln run examples/hello

clean:
	rm -rf bin $(E)/carried.go $(filter-out $(FILES)/README,$(wildcard $(FILES)/*))
