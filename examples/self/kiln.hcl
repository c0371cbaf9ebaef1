# kiln builds kiln: each of its executables in a step of its own, offline, from a Go
# toolchain, a C compiler, Go modules and source that are wares.

variable "goroot" {
  type        = string
  default     = "/usr/local/go"
  description = "the Go toolchain, as `go env GOROOT` says"
}

variable "modcache" {
  type        = string
  default     = "~/go/pkg/mod"
  description = "the module cache, as `go env GOMODCACHE` says, filled by `go mod download`"
}

ware "base" { builtin = "toolbox" }

# Not go.env, which belongs to the machine, nor what only people read.
ware "go" {
  path    = var.goroot
  include = ["VERSION", "bin/go", "pkg/{include,tool}/**", "src/**"]
  exclude = ["**/testdata", "**/*_test.go", "src/cmd/**"]
}

# gcc with its assembler and linker, a static libc and its headers, and the libraries that
# those programs load, where Debian and Ubuntu put them.
ware "cc" {
  path = "/usr"
  include = [
    "bin/{,*-linux-gnu-}{as,gcc,ld,ld.bfd}{,-[0-9]*}",
    "lib{,exec}/gcc/*-linux-gnu/*/{cc1,collect2,crt*.o,libgcc*.a,liblto_plugin.so,include/**}",
    "lib/*-linux-gnu/{crt[1in].o,lib{c,dl,m,pthread,resolv,rt}.a}",
    "lib/*-linux-gnu/{ld-linux*,lib{c,m,dl,pthread,z,zstd,gmp,mpfr,mpc,isl,jansson}.so.*}",
    "lib/*-linux-gnu/lib{bfd,ctf,opcodes,sframe}*.so*",
    "lib{,64}/ld-linux*",
    "include/{*.h,asm-generic/**,linux/**}",
    "include/*-linux-gnu/{*.h,asm/**,bits/**,gnu/**,sys/**}",
  ]
}

# The modules that go.sum lists, packed as they were downloaded: go checks each against go.sum.
ware "modules" {
  path    = "${var.modcache}/cache/download"
  include = local.modules
}

# What kiln carries inside it is built of less: a change elsewhere leaves it remembered.
ware "carried" {
  path    = "../.."
  include = ["go.mod", "go.sum", "{cmd/kiln-*,exec/{container,function/runners,kubernetes/api},internal,pack,warehouse}/**"]
  exclude = local.left_out
}

ware "source" {
  path    = "../.."
  include = ["go.mod", "go.sum", "{cmd,exec,formula,internal,pack,plan,warehouse}/**"]
  exclude = local.left_out
}

ware "hello" {
  path    = "../hello"
  exclude = ["kiln.lock.hcl"] # by another kiln, if any
}

locals {
  left_out = ["**/testdata", "**/*_test.go", "internal/embedded/{carried.go,files/[a-z]*}"]

  # Lines of go.sum are "MODULE VERSION HASH" and "MODULE VERSION/go.mod HASH". In file names
  # a capital letter is an exclamation mark and the small letter.
  sums = [for line in split("\n", chomp(file("go.sum"))) : split(" ", line)]
  modules = [
    for sum in local.sums : format("%s/@v/%s",
      lower(regexreplace(sum[0], "([A-Z])", "!$1")),
      can(regex("/go.mod$", sum[1])) ? replace(sum[1], "/go.mod", ".mod") : "${sum[1]}.zip",
    )
  ]

  inputs = {
    "/"             = ware.base
    "/usr/local/go" = ware.go
    "/modules"      = ware.modules
    "/src"          = { from = ware.carried, mode = "overlay" }
  }
  env = {
    PATH        = "/usr/local/go/bin:/usr/bin:/bin"
    CGO_ENABLED = "0"
    GOCACHE     = "/tmp/cache"
    GOENV       = "off"
    GOFLAGS     = "-trimpath -buildvcs=false"
    GOMODCACHE  = "/tmp/modules"
    GOPROXY     = "file:///modules"
    GOSUMDB     = "off"
    GOTOOLCHAIN = "local"
  }
}

# What makes the containers: static, since it runs where there is nothing else.
step "executor" {
  inputs  = merge(local.inputs, { "/usr" = ware.cc })
  env     = merge(local.env, { CGO_ENABLED = "1" })
  cwd     = "/src"
  script  = <<-EOT
    ln -s usr/lib usr/lib64 /
    go build -o /out/executor -tags 'osusergo netgo' \
      -ldflags '-s -w -buildid= -linkmode external -extldflags "-static -Wl,--build-id=none"' ./cmd/kiln-executor
  EOT
  outputs = { files = "/out" }
}

step "enter" {
  inputs = {
    "/"    = ware.base
    "/usr" = ware.cc
    "/src" = ware.carried
  }
  script  = <<-EOT
    ln -s usr/lib usr/lib64 /
    mkdir /out
    gcc -Os -Wall -Wextra -Werror -static -nostdlib -ffreestanding -fno-stack-protector \
      -fno-asynchronous-unwind-tables -fno-pie -no-pie -Wl,--build-id=none -Wl,-z,noexecstack -s \
      -o /out/enter /src/cmd/kiln-enter/enter.c
  EOT
  outputs = { files = "/out" }
}

step "toolbox" {
  inputs = local.inputs
  env    = local.env
  cwd    = "/src"
  script = [
    "go build -ldflags '-s -w' -tags core -o /out/toolbox ./cmd/kiln-toolbox",
    "go build -ldflags '-s -w' -o /out/toolbox-languages ./cmd/kiln-toolbox",
    "go build -o /gen ./internal/embedded/gen", # here, where most of it has been compiled
  ]
  outputs = {
    files = "/out"
    gen   = "/gen"
  }
}

# What speaks to a Kubernetes cluster.
step "kube" {
  inputs  = local.inputs
  env     = local.env
  cwd     = "/src"
  script  = ["go build -ldflags '-s -w' -o /out/kube ./cmd/kiln-kube"]
  outputs = { files = "/out" }
}

# The ware id of the toolbox, and the Go file that embeds all that was built.
step "embed" {
  inputs = {
    "/"        = ware.base
    "/gen"     = step.toolbox.gen
    "/toolbox" = step.toolbox.files
  }
  script = [
    "mkdir files && cp /toolbox/* files/",
    "/gen",
    "mkdir /out && cp carried.go files/toolbox.* /out/",
  ]
  outputs = { files = "/out" }
}

step "kiln" {
  inputs = merge(local.inputs, {
    "/src"            = { from = ware.source, mode = "overlay" }
    "/built/executor" = step.executor.files
    "/built/enter"    = step.enter.files
    "/built/kube"     = step.kube.files
    "/built/toolbox"  = step.toolbox.files
    "/embed"          = step.embed.files
  })
  env = local.env
  cwd = "/src"
  script = [
    "cp /built/*/* /embed/toolbox.* internal/embedded/files/",
    "cp /embed/carried.go internal/embedded/",
    "go build -ldflags '-s -w' -o /out/kiln ./cmd/kiln",
  ]
  outputs = { bin = "/out" }
}

# A step cannot make containers of its own: here kiln only reads a formula and packs a ware.
step "test" {
  inputs = {
    "/"      = ware.base
    "/kiln"  = step.kiln.bin
    "/hello" = ware.hello
  }
  env = { HOME = "/tmp" }
  script = [
    "/kiln/kiln version",
    "/kiln/kiln check /hello",
    "/kiln/kiln ware pack /hello > /id",
    "cat /id",
  ]
  outputs = { id = "/id" }
}

output "kiln" {
  value       = step.kiln.bin
  description = "a directory with the executable kiln"
}
