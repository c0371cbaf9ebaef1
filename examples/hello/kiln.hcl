variable "name" {
  type        = string
  default     = "world"
  description = "whom to greet"
}

# A static shell and the core utilities. It is inside kiln: nothing is downloaded.
ware "base" {
  builtin = "toolbox"
}

step "greet" {
  inputs = {
    "/"     = ware.base
    "$NAME" = var.name
  }
  script = [
    "mkdir /out",
    "echo \"Hello, $NAME!\" > /out/greeting",
  ]
  outputs = { greeting = "/out" }
}

step "shout" {
  inputs = {
    "/"     = ware.base
    "/said" = step.greet.greeting
  }
  script = [
    "mkdir /out",
    "tr a-z A-Z < /said/greeting > /out/greeting",
    "cat /out/greeting",
  ]
  outputs = { greeting = "/out" }
}

output "greeting" {
  value = step.shout.greeting
}
