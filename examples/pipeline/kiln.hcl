variable "top" {
  type        = number
  default     = 20
  description = "how many words the report lists"

  validation {
    condition     = var.top > 0
    error_message = "The report needs at least one word."
  }
}

locals {
  texts = { for f in fileset("texts", "*.txt") : trimsuffix(f, ".txt") => f }
}

ware "base" {
  builtin = "toolbox"
}

ware "texts" {
  path = "texts"
}

# Fan out: one step for each text, all at once.
step "count" {
  for_each = local.texts
  inputs = {
    "/"      = ware.base
    "/texts" = ware.texts
    "$FILE"  = each.value
  }
  script = [<<-EOT
    tr -cs 'A-Za-z' '\n' < "/texts/$FILE" | tr A-Z a-z | sed '/^$/d' |
      sort | uniq -c | awk '{ print $2 "\t" $1 }' > /counts
    wc -l < /counts | sed "s|^|$FILE: |; s|$| different words|"
  EOT
  ]
  outputs = { counts = "/counts" }
}

# Fan in: all counts become one.
step "total" {
  inputs = merge(
    { "/" = ware.base },
    { for name, c in step.count : "/counts/${name}" => c.counts },
  )
  script = [<<-EOT
    cat /counts/* | awk '{ n[$1] += $2; in_[$1]++ } END { for (w in n) print w "\t" n[w] "\t" in_[w] }' |
      sort > /total
  EOT
  ]
  outputs = { counts = "/total" }
}

# Fan out again: the words that only this text has.
step "own" {
  for_each = local.texts
  inputs = {
    "/"       = ware.base
    "/counts" = step.count[each.key].counts
    "/total"  = step.total.counts
  }
  script = [<<-EOT
    cut -f 1 /counts > /words
    awk '$3 == 1 { print $1 }' /total | comm -12 - /words > /own
  EOT
  ]
  outputs = { words = "/own" }
}

step "report" {
  inputs = merge(
    { "/" = ware.base, "/total" = step.total.counts, "$TOP" = var.top },
    { for name, o in step.own : "/own/${name}" => o.words },
  )
  script = [
    "mkdir /out && exec > /out/report.md",
    "echo \"# The $TOP most frequent words\" && echo",
    "sort -t \"$(printf '\\t')\" -k2,2nr -k1,1 /total | head -n $TOP | awk '{ printf \"%6d  %s\\n\", $2, $1 }'",
    "echo && echo '# Words that only one text has' && echo",
    "for f in /own/*; do printf '%-12s %5d  %s\\n' \"$(basename $f)\" \"$(wc -l < $f)\" \"$(head -n 6 $f | paste -sd ' ')\"; done",
  ]
  outputs = { report = "/out" }
}

output "report" {
  value       = step.report.report
  description = "report.md"
}

output "counts" {
  value = step.total.counts
}
