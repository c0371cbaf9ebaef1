# In $XDG_CONFIG_HOME/kiln/config.hcl.
runner "kubernetes" {
  namespace = "default"
  images    = "localhost:5000/kiln" # root wares are pushed here as images
  warehouse = "file:///srv/kiln"    # wares pass through here, both ways

  volume "/srv/kiln" {
    host_path = "/srv/kiln" # with more than one node: claim = "NAME"
  }
}

runner "kueue" { # as above, and
  queue  = "builds"
  cpus   = 0.1 # what a step asks for that says nothing
  memory = "64MiB"
}
