// Runs before the Go runtime. In a process whose environment holds KILN_ENTER it
// takes the last steps of a container's first process and becomes the step's
// command; with KILN_AWAIT_MAP it is the executor, not yet root of its user
// namespace; in every other process it returns at once. See enter.go for the
// message it reads. It uses nothing but system calls and the heap, since no
// runtime has started yet.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { fd_exe = 3, fd_control = 4, max_message = 64 << 20 };

struct message {
	const char *at, *end;
};

// fail reports the step that failed ('C'wd, 'S'eccomp, 'X' exec, 'M'essage) and
// errno as "stage errno name", and ends the process.
static void fail(char stage, int err)
{
	unsigned char report[5] = {(unsigned char)stage, (unsigned char)err, (unsigned char)(err >> 8), 0, 0};
	ssize_t n = write(fd_control, report, sizeof report);
	(void)n;
	_exit(127);
}

static void read_all(void *to, size_t size)
{
	char *p = to;
	while (size > 0) {
		ssize_t n = read(fd_control, p, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			_exit(0); // the executor gave the container up
		if (n < 0)
			fail('M', errno);
		p += n;
		size -= (size_t)n;
	}
}

static uint32_t take_u32(struct message *m)
{
	uint32_t v;
	if (m->end - m->at < (ptrdiff_t)sizeof v)
		fail('M', EBADMSG);
	memcpy(&v, m->at, sizeof v);
	m->at += sizeof v;
	return v;
}

static const char *take_string(struct message *m)
{
	const char *s = m->at;
	const char *nul = memchr(s, 0, (size_t)(m->end - s));
	if (!nul)
		fail('M', EBADMSG);
	m->at = nul + 1;
	return s;
}

static char **take_strings(struct message *m)
{
	uint32_t n = take_u32(m);
	if (n > (uint32_t)(m->end - m->at))
		fail('M', EBADMSG);
	char **list = calloc((size_t)n + 1, sizeof *list);
	if (!list)
		fail('M', ENOMEM);
	for (uint32_t i = 0; i < n; i++)
		list[i] = (char *)take_string(m);
	return list;
}

static const char *lookup(char **env, const char *name)
{
	size_t n = strlen(name);
	for (; *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return *env + n + 1;
	return "";
}

// become replaces the process with the command, looked for along PATH when its
// name has no slash, and returns the error that says most when nothing could be run.
static int become(char **argv, char **env)
{
	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, env);
		return errno;
	}
	int said = ENOENT;
	size_t length = strlen(argv[0]);
	for (const char *dir = lookup(env, "PATH"); *dir;) {
		const char *end = strchrnul(dir, ':');
		size_t n = (size_t)(end - dir);
		char *path = malloc(n + length + 2);
		if (!path)
			return ENOMEM;
		memcpy(path, dir, n);
		path[n] = '/';
		memcpy(path + n + 1, argv[0], length + 1);
		execve(path, argv, env);
		if (errno != ENOENT && errno != ENOTDIR)
			said = errno;
		free(path);
		dir = *end ? end + 1 : end;
	}
	return said;
}

// await_map waits until the ids of the user namespace the process was cloned into
// are mapped, then executes itself again: executed as root of the namespace, it has
// its capabilities.
static void await_map(int fd, char **argv)
{
	char byte;
	char *env[] = {"PATH=/usr/bin:/bin", NULL};
	ssize_t n;
	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(1);
	close(fd);
	execve("/proc/self/exe", argv, env);
	_exit(1);
}

__attribute__((constructor)) static void kiln_enter(int argc, char **argv, char **envp)
{
	(void)argc;
	if (*lookup(envp, "KILN_AWAIT_MAP"))
		await_map(atoi(lookup(envp, "KILN_AWAIT_MAP")), argv);
	if (!*lookup(envp, "KILN_ENTER"))
		return;

	uint32_t size;
	fcntl(fd_exe, F_SETFD, FD_CLOEXEC);
	fcntl(fd_control, F_SETFD, FD_CLOEXEC);
	read_all(&size, sizeof size);
	if (size > max_message)
		fail('M', EMSGSIZE);
	char *body = malloc(size);
	if (!body)
		fail('M', ENOMEM);
	read_all(body, size);

	struct message m = {body, body + size};
	struct sock_fprog program = {0};
	uint32_t filter_size = take_u32(&m);
	if (filter_size > (uint32_t)(m.end - m.at) || filter_size % sizeof(struct sock_filter))
		fail('M', EBADMSG);
	program.len = (unsigned short)(filter_size / sizeof(struct sock_filter));
	program.filter = malloc(filter_size);
	if (!program.filter)
		fail('M', ENOMEM);
	memcpy(program.filter, m.at, filter_size);
	m.at += filter_size;

	const char *cwd = take_string(&m);
	char **command = take_strings(&m);
	char **env = take_strings(&m);
	if (!command[0])
		fail('M', EINVAL);

	if (chdir(cwd))
		fail('C', errno);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail('S', errno);
	if (program.len && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		fail('S', errno);
	fail('X', become(command, env));
}
