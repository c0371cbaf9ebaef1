// Runs before the Go runtime. Where newuidmap and newgidmap write the id maps, the
// executor is executed before it has any: it waits here for KILN_AWAIT_MAP, a
// descriptor to be readable, and executes itself again. Executed as root of its
// user namespace, it has its capabilities.
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void await_map(int argc, char **argv)
{
	char *env[] = {"PATH=/usr/bin:/bin", NULL};
	const char *fd = getenv("KILN_AWAIT_MAP");
	char byte;
	ssize_t n;

	(void)argc;
	if (!fd)
		return;
	do
		n = read(atoi(fd), &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(1);
	close(atoi(fd));
	execve("/proc/self/exe", argv, env);
	_exit(1);
}
