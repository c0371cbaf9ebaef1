# A tour of the language: every kind of block and attribute.
variable "version" {
  type        = string
  default     = "5.4.7"
  description = "which Lua to build"

  validation {
    condition     = can(regex("^5\\.", var.version))
    error_message = "Only Lua 5 is known here."
  }
}

variable "jobs" {
  type    = number
  default = 2
}

variable "tests" {
  type = map(object({
    file  = string
    extra = optional(list(string), [])
  }))
  default = {
    math    = { file = "math.lua" }
    strings = { file = "strings.lua", extra = ["-v"] }
  }
}

variable "token" {
  default   = "s3cret"
  sensitive = true
}

locals {
  name  = "lua-${var.version}"
  notes = [for f in fileset("files", "*.txt") : file("files/${f}")]
}

locals {
  title = upper(local.name)
}

ware "base" {
  builtin = "toolbox"
}

ware "lua" {
  url    = "https://www.lua.org/ftp/${local.name}.tar.gz"
  sha256 = "9FBF5E28EF86C69858F6D3D34EB32FBF5E28EF86C69858F6D3D34EB32FBF5E28"
  strip  = 1
}

ware "self" {
  path    = "."
  include = ["**/*.txt"]
  exclude = [".git", "build"]
  filters = "mtime=keep"
}

ware "old" {
  id = "tar:4z9DCTxoKkStqXQRwtf9nimpfQQ36dbndDsAPCQgECfbXt3edanUrsVKCjE9TkX2v9"
}

step "build" {
  inputs = {
    "/"      = ware.base
    "/src/." = { from = ware.lua, mode = "overlay" }
    "$JOBS"  = var.jobs
  }
  env = {
    TITLE = local.title
    NOTES = join("", local.notes)
  }
  script = [
    "cd /src",
    "make -j$JOBS",
    "make install INSTALL_TOP=/out",
  ]
  outputs = {
    lua  = "/out/"
    docs = { path = "/src/doc", packtype = "tar", filters = "uid=keep" }
  }
  timeout   = "10m"
  resources = { cpus = 2, memory = "1GiB", pids = 512, requests = { cpus = 0.5 } }
  runner    = "container"
}

step "test" {
  for_each = var.tests
  inputs = {
    "/"        = ware.base
    "/opt/lua" = step.build.lua
    "/t"       = ware.self
  }
  exec    = concat(["/opt/lua/bin/lua", "/t/${each.value.file}"], each.value.extra)
  outputs = { log = "/log/${each.key}" }
  user    = 1000
  cwd     = "/t/"
}

step "report" {
  inputs = merge(
    { "/" = ware.base },
    { for name, t in step.test : "/logs/${name}" => t.log },
  )
  script      = "cat /logs/* > /report\n"
  interpreter = ["/bin/sh", "-eu"]
  outputs     = { report = "/report" }
  depends_on  = [module.lib]
}

step "publish" {
  inputs = {
    "/"      = ware.base
    "/r"     = step.report.report
    "/m"     = step.test["math"].log
    "$TOKEN" = var.token
  }
  exec = ["true"]
  user = "0:5"
}

module "lib" {
  source = "./lib"
  base   = ware.base
  words  = ["a", "b"]
}

output "lua" {
  value       = step.build.lua
  description = "the interpreter and its libraries"
}

output "words" {
  value = module.lib.joined
}

output "image" {
  value = step.build.lua
  image {
    layers = [
      ware.base,
      { from = step.build.lua, path = "/opt//lua/" },
      { path = "/srv/words", from = module.lib.joined },
    ]
    platform    = "linux/arm64"
    entrypoint  = ["/opt/lua/bin/lua", "-W"]
    cmd         = concat(["/srv"], [])
    env         = { LUA_PATH = "/srv/?.lua", B = 1 }
    labels      = { version = var.version, "org.example/a b" = "<c>" }
    user        = "nobody:100"
    workdir     = "/srv/"
    expose      = [80, "53/udp"]
    stop_signal = "SIGINT"
  }
}

output "plain_image" {
  value = ware.base
  image {}
}
