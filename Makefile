# kiln carries executables of its own inside it; they are built first, into here.
FILES := internal/embedded/files

CC ?= cc
GOBUILD := go build -trimpath -buildvcs=false

.PHONY: build
build: executor
	CGO_ENABLED=0 $(GOBUILD) -ldflags '-s -w' -o bin/kiln ./cmd/kiln

# The executor is static, since it runs in containers that hold nothing else.
.PHONY: executor
executor: $(FILES)/enter
	CGO_ENABLED=1 $(GOBUILD) -tags 'osusergo netgo' -ldflags '-s -w -linkmode external -extldflags -static' \
		-o $(FILES)/executor ./cmd/kiln-executor

# No C library, no build id: a few pages that a container starts at once.
$(FILES)/enter: cmd/kiln-enter/enter.c
	$(CC) -Os -Wall -Wextra -Werror -static -nostdlib -ffreestanding -fno-stack-protector \
		-fno-asynchronous-unwind-tables -fno-pie -no-pie -Wl,--build-id=none -Wl,-z,noexecstack -s -o $@ $<
