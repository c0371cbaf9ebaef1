# What the sources of this formula resolved to. kiln writes this file and obeys
# it: commit it. "kiln update" resolves anew.
version = 1

ware "ware.base" {
  builtin = "toolbox"
  id      = "tree:eb6c5c4755a2a769779e3b0e0a569f314d077798eae804842d4a20c39663d5e0-717"
}
