ware "base" { builtin = "toolbox" }

step "hello" {
  inputs  = { "/" = ware.base }
  exec    = ["/bin/sh", "-c", "echo hello > /hello"]
  outputs = { hello = "/hello" }
}

output "hello" { value = step.hello.hello }
