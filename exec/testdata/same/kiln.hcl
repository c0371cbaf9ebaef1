# A chain of steps with the toolbox and a C compiler, whose wares are to be the same on
# every runner.

ware "base" { builtin = "toolbox" }

# gcc with its assembler and linker and a static libc, where Debian and Ubuntu put them.
ware "cc" {
  path = "/usr"
  include = [
    "bin/{,*-linux-gnu-}{as,gcc,ld,ld.bfd}{,-[0-9]*}",
    "lib{,exec}/gcc/*-linux-gnu/*/{cc1,collect2,crt*.o,libgcc*.a,liblto_plugin.so,include/**}",
    "lib/*-linux-gnu/{crt[1in].o,lib{c,dl,m,pthread}.a}",
    "lib/*-linux-gnu/{ld-linux*,lib{c,m,dl,pthread,z,zstd,gmp,mpfr,mpc,isl,jansson}.so.*}",
    "lib/*-linux-gnu/lib{bfd,ctf,opcodes,sframe}*.so*",
    "lib{,64}/ld-linux*",
    "include/{*.h,asm-generic/**,linux/**}",
    "include/*-linux-gnu/{*.h,asm/**,bits/**,gnu/**,sys/**}",
  ]
}

ware "source" { path = "src" }

step "build" {
  inputs = {
    "/"    = ware.base
    "/usr" = ware.cc
    "/src" = { from = ware.source, mode = "overlay" }
  }
  cwd = "/src"
  script = [
    "ln -s usr/lib usr/lib64 /",
    "gcc -O1 -static -Wl,--build-id=none -o hello hello.c",
    "mkdir -p /out/bin; mv hello /out/bin; chmod 750 /out/bin/hello",
  ]
  outputs = { program = "/out", left = "/src" }
}

step "use" {
  inputs  = { "/" = ware.base, "/opt" = step.build.program }
  script  = ["/opt/bin/hello >/greeting", "id -u >>/greeting; umask >>/greeting"]
  outputs = { greeting = "/greeting" }
}

output "program" { value = step.build.program }
output "left" { value = step.build.left }
output "greeting" { value = step.use.greeting }
