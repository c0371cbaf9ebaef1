ware "scheme" { git = "htps://example.org/a.git" } # ERROR: Unsupported git URL

ware "option" { git = "-oProxyCommand=x:a/b.git" } # ERROR: Invalid git URL

ware "scp" { git = "git@example.org:" } # ERROR: Invalid git URL

ware "nohost" { git = "https:///a.git" } # ERROR: Invalid git URL

ware "helper" { git = "ext::sh -c true" } # ERROR: Invalid git URL

ware "nopath" { git = ":a.git" } # ERROR: Invalid git URL

ware "escape" { git = "https://example.org/%zz" } # ERROR: Invalid git URL

ware "filehost" { git = "file://host/a.git" } # ERROR: Invalid git URL

ware "empty" { git = "" } # ERROR: Empty source

ware "attributes" {
  git        = "../here"
  ref        = "HEAD~1"    # ERROR: Invalid ref
  subdir     = "../else"   # ERROR: Invalid subdir
  submodules = "perhaps"   # ERROR: Wrong type
  strip      = 1           # ERROR: Attribute of another source
  include    = ["["]       # ERROR: Invalid pattern
}

ware "others" {
  url        = "https://example.org/a.tar"
  ref        = "v1" # ERROR: Attribute of another source
  subdir     = "a"  # ERROR: Attribute of another source
  submodules = true # ERROR: Attribute of another source
}

ware "two" {
  git  = "."
  path = "." # ERROR: Ware with two sources
}

ware "emptyref" {
  git = "."
  ref = "" # ERROR: Invalid ref
}

ware "absolute" {
  git    = "."
  subdir = "/a" # ERROR: Invalid subdir
}
