# Instances, whole steps, modules in modules, wares passed around.
variable "langs" {
  type    = set(string)
  default = ["en", "de"]
}

locals {
  texts   = fileset("texts", "*.txt")
  pairs   = { for p in setproduct(var.langs, local.texts) : "${p[0]}/${p[1]}" => { lang = p[0], text = p[1] } }
  root    = { "/" = ware.base }
  wares   = { a = ware.base, b = ware["texts"] }
  names   = ["x", "y"]
  timeout = "${5 * 2}m"
}

ware "base" { builtin = "toolbox" }
ware "texts" { path = "texts" }

step "pair" {
  for_each = local.pairs
  inputs = merge(local.root, {
    "/in"                             = ware.texts
    "$LANG"                           = each.value.lang
    "$PATH_${upper(each.value.lang)}" = each.key
  })
  script  = ["cat /in/${each.value.text} > /out"]
  outputs = { for n in local.names : n => "/out/${each.value.lang}/${n}" }
  timeout = local.timeout
}

# an instance for each instance of another step
step "check" {
  for_each = step.pair
  inputs = {
    "/"                        = ware.base
    "/x"                       = each.value.x
    "/y"                       = { from = step.pair[each.key].y, mode = length(each.key) > 8 ? "overlay" : "ro" }
    "/d/${basename(each.key)}" = ware.texts
  }
  exec       = ["true"]
  depends_on = [step.pair["de/one.txt"], module.lib]
}

step "wares" {
  for_each = local.wares
  inputs   = { "/" = each.value }
  exec     = ["true"]
  outputs  = { "o" = "/o" }
}

step "none" {
  for_each = {}
  inputs   = { "/" = ware.base }
  exec     = ["true"]
}

step "all" {
  inputs = merge(local.root, { for i, w in values(step.wares)[*].o : "/w${i}" => w })
  exec   = concat(["ls"], keys(step.pair), [tostring(length(step.none))])
}

module "lib" {
  source = "./lib"
  given  = step.wares["a"].o
  label  = join(",", local.names)
}

output "deep" { value = module.lib.deep }
output "picked" { value = local.wares["b"] }
