ware "base" { builtin = "toolbox" }

step "one" {
  inputs = {
    "/"  = ware.bse    # ERROR: Unknown ware
    "/a" = stap.one    # ERROR: Unknown name
    "/b" = step.won    # ERROR: Unknown step
    "/c" = step.two.ot # ERROR: Unknown output
    "/d" = step.none.x # ERROR: Unknown output
    "/e" = ware[0]     # ERROR: Unknown ware
  }
  env = {
    A = var.nope    # ERROR: Unknown variable
    B = local.nope  # ERROR: Unknown local
    C = module.nope # ERROR: Unknown module
    D = each.key    # ERROR: No for_each here
    E = nofunc(1)   # ERROR: Call to unknown function
  }
  exec = ["true"]
}

step "two" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  outputs = { out = "/out" }
}

step "none" {
  inputs = { "/" = ware.base, "/x" = step.two["k"].out } # ERROR: Unknown output
  exec   = ["true"]
}

step "number" {
  inputs = { "/" = ware.base, "/x" = step.two[0].out } # ERROR: Unknown output
  exec   = ["true"]
}

step "many" {
  for_each = toset(["a", "b"])
  inputs   = { "/" = ware.base }
  exec     = [each.kay] # ERROR: Unknown attribute of each
  outputs  = { out = "/out" }
}

step "uses" {
  inputs = {
    "/"  = ware.base
    "/1" = step.many["c"].out # ERROR: Unknown instance
    "/2" = step.many.out      # ERROR: Unknown instance
    "/3" = step.many[1].out   # ERROR: Unknown instance
    "/4" = step.many["a"].ot  # ERROR: Unknown output
  }
  exec       = ["true"]
  depends_on = [step.wo, step.many["z"], module.m, ware.base, 5] # ERROR: Unknown step # ERROR: Unknown instance # ERROR: Unknown module # ERROR: Invalid depends_on # ERROR: Invalid depends_on
}

step "whole" {
  inputs = {
    "/"  = ware.base
    "/1" = step.two # ERROR: Input is not a ware
    "/2" = step.many[join("", ["a", "b"])].out # ERROR: Invalid index
  }
  exec       = ["true"]
  depends_on = "step.two" # ERROR: Invalid depends_on
}

output "whole" { value = step.two } # ERROR: Output is not a ware
output "text" { value = "text" } # ERROR: Output is not a ware
output "null" { value = null } # ERROR: Output is not a ware
output "gone" { value = step.gone.out } # ERROR: Unknown step
output "desc" {
  value       = ware.base
  description = "a ${ware.base}" # ERROR: Not a plain string
}
