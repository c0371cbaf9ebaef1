# A container image, made without a Dockerfile and without a daemon:
#
#   kiln run -o hello=docker-archive:hello.tar:hello:1 && docker load -i hello.tar
#   kiln run -o hello=docker://registry.example.org/hello:1
#   kiln run -o hello=oci:layout:1
#
# Its digest is the same whoever makes it, and only what has changed is compressed
# or uploaded again.

ware "base" { builtin = "toolbox" }

variable "name" {
  type    = string
  default = "world"
}

step "page" {
  inputs  = { "/" = ware.base, "$NAME" = var.name }
  script  = ["mkdir /out", "echo \"hello, $NAME\" >/out/page"]
  outputs = { page = "/out" }
}

output "hello" {
  value       = step.page.page
  description = "says hello"
  image {
    layers     = [ware.base, { from = step.page.page, path = "/srv/hello" }]
    entrypoint = ["/bin/cat"]
    cmd        = ["page"]
    workdir    = "/srv/hello"
    user       = "1000:1000"
    env        = { GREETED = var.name }
    labels     = { "org.opencontainers.image.title" = "hello" }
  }
}
