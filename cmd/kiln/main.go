// Command kiln builds wares from formula files.
package main

func main() {}
