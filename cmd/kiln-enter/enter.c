// kiln-enter takes the last steps of a container's first process. libcontainer
// executes it as the container's command; it waits on its control socket for a
// message that says what the command really is, installs the seccomp filter, and
// becomes it. Package exec/container/enter describes the message and the report.
//
// It is a program of its own, without a C library, because every step starts it:
// a few pages, no start-up code. It must run with descriptor 3 on its own
// executable and 4 on the control socket, and nothing else above 2 that the
// command may not have.
#include <asm/ioctls.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/unistd.h>

typedef unsigned long word;

enum { fd_exe = 3, fd_control = 4, fd_cloexec = 1, max_message = 64 << 20, max_path = 4096 };

#if defined(__x86_64__)
static word call(word nr, word a, word b, word c, word d, word e, word f)
{
	register word r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	word ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}
__asm__(".globl _start\n_start: xor %ebp, %ebp\nand $-16, %rsp\ncall enter\nhlt\n");
#elif defined(__aarch64__)
static word call(word nr, word a, word b, word c, word d, word e, word f)
{
	register word x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register word x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
__asm__(".globl _start\n_start: mov x29, #0\nbl enter\nbrk #0\n");
#else
#error "kiln-enter knows no system calls for this machine"
#endif

#define call3(nr, a, b, c) call(nr, (word)(a), (word)(b), (word)(c), 0, 0, 0)

// failed returns the errno in a system call's result, or 0.
static int failed(word result) { return result > -4096UL ? (int)-result : 0; }

// report tells the executor the step that failed ('C'wd, 'S'eccomp, 'X' exec,
// 'M'essage) and errno, and ends the process.
static void report(char stage, int err)
{
	unsigned char text[3] = {(unsigned char)stage, (unsigned char)err, (unsigned char)(err >> 8)};
	call3(__NR_write, fd_control, text, sizeof text);
	call3(__NR_exit_group, 127, 0, 0);
	__builtin_unreachable();
}

static void *memory(word size)
{
	word at = call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (word)-1, 0);
	if (failed(at))
		report('M', failed(at));
	return (void *)at;
}

static void read_all(char *to, word size)
{
	while (size > 0) {
		word n = call3(__NR_read, fd_control, to, size);
		if (failed(n) == EINTR)
			continue;
		if (failed(n))
			report('M', failed(n));
		if (n == 0)
			call3(__NR_exit_group, 0, 0, 0); // the executor gave the container up
		to += n;
		size -= n;
	}
}

// A message is read front to back. Its numbers are 32 bits in native order.
struct message {
	char *at, *end;
};

static char *take(struct message *m, word size)
{
	char *p = m->at;
	if (size > (word)(m->end - p))
		report('M', EBADMSG);
	m->at += size;
	return p;
}

static unsigned take_number(struct message *m)
{
	unsigned char *p = (unsigned char *)take(m, 4);
	unsigned v;
	__builtin_memcpy(&v, p, sizeof v);
	return v;
}

static char *take_string(struct message *m)
{
	char *s = m->at, *p = s;
	while (p < m->end && *p)
		p++;
	take(m, (word)(p - s) + 1);
	return s;
}

static char **take_strings(struct message *m)
{
	unsigned n = take_number(m);
	char **list;
	if (n > (word)(m->end - m->at))
		report('M', EBADMSG);
	list = memory((n + 1UL) * sizeof *list);
	for (unsigned i = 0; i < n; i++)
		list[i] = take_string(m);
	return list;
}

// search returns the value of PATH in env, or "".
static const char *search(char **env)
{
	for (; *env; env++) {
		const char *e = *env;
		if (e[0] == 'P' && e[1] == 'A' && e[2] == 'T' && e[3] == 'H' && e[4] == '=')
			return e + 5;
	}
	return "";
}

// become replaces the process with the command, looked for along PATH when its
// name has no slash. It returns the error that says most when nothing could be run.
static int become(char **argv, char **env)
{
	static char path[max_path];
	int said = ENOENT;
	for (const char *p = argv[0]; *p; p++)
		if (*p == '/')
			return failed(call3(__NR_execve, argv[0], argv, env));
	for (const char *dir = search(env); *dir;) {
		word n = 0;
		while (*dir && *dir != ':') {
			if (n < max_path - 2)
				path[n++] = *dir;
			dir++;
		}
		path[n++] = '/';
		for (const char *p = argv[0]; n < max_path;) {
			path[n++] = *p;
			if (!*p++)
				break;
		}
		if (n < max_path) {
			int err = failed(call3(__NR_execve, path, argv, env));
			if (err != ENOENT && err != ENOTDIR)
				said = err;
		}
		if (*dir)
			dir++;
	}
	return said;
}

__attribute__((used)) static void enter(void)
{
	unsigned size;
	struct message m;
	struct sock_fprog program;
	char *cwd, **argv, **env;
	word err;

	call3(__NR_fcntl, fd_exe, F_SETFD, fd_cloexec);
	call3(__NR_fcntl, fd_control, F_SETFD, fd_cloexec);
	read_all((char *)&size, sizeof size);
	if (size > max_message)
		report('M', EMSGSIZE);
	m.at = memory(size + 1UL);
	m.end = m.at + size;
	read_all(m.at, size);

	size = take_number(&m);
	program.len = (unsigned short)(size / sizeof *program.filter);
	program.filter = memory(size + 1UL); // the message's own place may not be aligned
	for (char *from = take(&m, size), *to = (char *)program.filter; size > 0; size--)
		*to++ = *from++;
	cwd = take_string(&m);
	argv = take_strings(&m);
	env = take_strings(&m);
	if (!argv[0])
		report('M', EINVAL);

	// Libcontainer made the process the leader of a session of its own. Where it was given a
	// terminal, for a person's shell, that becomes the session's: a shell then has job control.
	call3(__NR_ioctl, 0, TIOCSCTTY, 0);
	if ((err = call3(__NR_chdir, cwd, 0, 0)))
		report('C', failed(err));
	if ((err = call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)))
		report('S', failed(err));
	if (program.len && (err = call3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)))
		report('S', failed(err));
	report('X', become(argv, env));
}
