module "url" { source = "https://example.org/m" } # ERROR: Unsupported module source
module "name" { source = "lib" }                  # ERROR: Unsupported module source
module "out" { source = "../other" }              # ERROR: Module outside the formula's directory
module "ref" { source = "./${local.x}" }          # ERROR: Module source is not a literal
module "none" { source = "./nowhere" }            # ERROR: No formula found
module "root" { source = "./" }                   # ERROR: Module contains itself

module "link" { source = "./here" }               # ERROR: Module contains itself

module "missing" { # ERROR: Missing module argument
  source = "./lib"
  wrods  = 1 # ERROR: Unknown module argument
}

module "lib" {
  source = "./lib"
  words  = "x" # ERROR: Wrong type
}

module "loop" { source = "./loop" }

ware "base" { builtin = "toolbox" }

step "s" {
  inputs = {
    "/"  = ware.base
    "/a" = module.lib.nope # ERROR: Unknown module output
    "/b" = module.none.x
    "/c" = module.lib.text # ERROR: Input is not a ware
    "/d" = module.circle.out
  }
  exec = ["true"]
}

locals { x = 1 }

module "circle" {
  source = "./circle"
  in     = module.circle.out
}
