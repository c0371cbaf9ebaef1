# Functions in three languages around a fileset: Python counts the words of texts, a
# step makes a page for each text that has enough of them, Node ranks them, Go sums up.

variable "python" {
  type        = string
  description = "a root directory with python3: interpreter.sh makes one"
}

variable "node" {
  type        = string
  description = "a root directory with node"
}

variable "go" {
  type        = string
  description = "a directory with the program of ./summary"
}

variable "least" {
  type        = number
  default     = 20
  description = "how many words a text needs to have a page"
}

ware "toolbox" {
  builtin = "toolbox"
}

# What speaks the protocol of functions for Python and Node. It is inside kiln.
ware "runners" {
  builtin = "runners"
}

ware "python" {
  path = var.python
}

ware "node" {
  path = var.node
}

ware "go" {
  path = var.go
}

ware "modules" {
  path = "modules"
}

ware "texts" {
  path = "texts"
}

function "count" {
  inputs = {
    "/"        = ware.python
    "/runners" = ware.runners
    "/modules" = step.modules.all
  }
  exec       = ["/usr/bin/python3", "/runners/runner.py", "/modules/count.py"]
  schema_in  = { type = "object", properties = { dir = { type = "string", pattern = "^/" } }, required = ["dir"] }
  schema_out = file("count.schema.json")
}

function "rank" {
  inputs = {
    "/"        = ware.node
    "/runners" = ware.runners
    "/modules" = step.modules.all
  }
  exec = ["/usr/bin/node", "/runners/runner.mjs", "/modules/rank.mjs"]
}

function "summary" {
  inputs    = { "/" = ware.go }
  exec      = ["/summary"]
  schema_in = { type = "array", items = { type = "object", required = ["name", "words"] } }
}

# Functions extended by a step: what they find in /modules is made here.
step "modules" {
  inputs = {
    "/"        = ware.toolbox
    "/modules" = ware.modules
  }
  script = [
    "mkdir /all",
    "cp /modules/* /all",
    "echo 'SEPARATORS = \".,;:!?\"' > /all/separators.py",
  ]
  outputs = { all = "/all" }
}

call "count" {
  function = function.count
  input    = { dir = "/texts" }
  inputs   = { "/texts" = ware.texts }
}

call "rank" {
  function = function.rank
  input    = call.count.output
}

call "summary" {
  function = function.summary
  input    = call.count.output
}

# Which pages there are is known only when the texts have been counted.
step "page" {
  for_each = { for text in call.count.output : text.name => text if text.words >= var.least }
  inputs = {
    "/"      = ware.toolbox
    "/texts" = ware.texts
    "$NAME"  = each.key
    "$WORDS" = each.value.words
  }
  script  = ["{ echo \"$NAME ($WORDS words)\"; head -n 2 \"/texts/$NAME\"; } > /page"]
  outputs = { page = "/page" }
}

step "book" {
  inputs = merge(
    {
      "/"             = ware.toolbox
      "/summary.json" = call.summary.file
      "$ORDER"        = join(" ", call.rank.output)
    },
    { for name, p in step.page : "/pages/${name}" => p.page },
  )
  script = [
    "for name in $ORDER; do if [ -e \"/pages/$name\" ]; then cat \"/pages/$name\"; fi; done > /book",
    "jq -r '\"\\(.words) words in \\(.texts) texts\"' < /summary.json >> /book",
    "cat /book",
  ]
  outputs = { book = "/book" }
}

output "book" {
  value       = step.book.book
  description = "a page for each text, the longest first"
}
