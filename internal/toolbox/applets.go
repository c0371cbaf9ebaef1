package toolbox

import "errors"

var errMissingOperand = errors.New("missing operand")

// An entry is an applet and how it is called.
type entry struct {
	run     applet
	trouble int  // exit status for errors
	process bool // uses the working directory or streams of its process
}

// names are the applets of every toolbox, sorted.
var names = [...]string{
	"[", "base64", "basename", "cat", "chgrp", "chmod", "chown", "cmp", "comm", "cp", "cut", "date", "dd",
	"diff", "dirname", "du", "echo", "egrep", "env", "expr", "false", "fgrep", "find", "fold", "grep", "gunzip", "gzip",
	"head", "hexdump", "hostname", "id", "install", "join", "kill", "ln", "ls", "md5sum", "mkdir", "mktemp", "mv",
	"nl", "nproc", "od", "paste", "printenv", "printf", "pwd", "readlink", "realpath", "rev", "rm", "rmdir", "sed",
	"seq", "sh", "sha1sum", "sha256sum", "sha384sum", "sha512sum", "sleep", "sort", "split", "stat", "sync", "tac",
	"tail", "tar", "tee", "test", "timeout", "touch", "tr", "true", "truncate", "tty", "uname", "uniq", "wc", "which",
	"whoami", "xargs", "yes", "zcat",
}

// lookup finds an applet. It is a switch, not a map, so that no code runs for it at start.
func lookup(name string) (entry, bool) {
	switch name {
	case "printf":
		return entry{printf, 1, false}, true
	case "[", "test":
		return entry{builtin, 2, false}, true
	case "base64":
		return entry{base64Applet, 1, false}, true
	case "basename":
		return entry{basename, 1, false}, true
	case "cat":
		return entry{cat, 1, false}, true
	case "chgrp", "chown":
		return entry{chown, 1, false}, true
	case "chmod":
		return entry{chmod, 1, false}, true
	case "cmp":
		return entry{cmpApplet, 2, false}, true
	case "comm":
		return entry{comm, 1, false}, true
	case "cp":
		return entry{cp, 1, false}, true
	case "cut":
		return entry{cut, 1, false}, true
	case "date":
		return entry{date, 1, false}, true
	case "dd":
		return entry{dd, 1, false}, true
	case "diff":
		return entry{diff, 2, false}, true
	case "dirname":
		return entry{dirname, 1, false}, true
	case "du":
		return entry{du, 1, false}, true
	case "echo":
		return entry{echo, 1, false}, true
	case "egrep", "fgrep", "grep":
		return entry{grep, 2, false}, true
	case "env":
		return entry{env, 125, false}, true
	case "expr":
		return entry{expr, 2, false}, true
	case "false":
		return entry{falseApplet, 1, false}, true
	case "find":
		return entry{find, 1, false}, true
	case "fold":
		return entry{fold, 1, false}, true
	case "gunzip", "gzip", "zcat":
		return entry{gzipApplet, 1, false}, true
	case "head":
		return entry{head, 1, false}, true
	case "hexdump":
		return entry{hexdump, 1, false}, true
	case "hostname":
		return entry{hostname, 1, false}, true
	case "id":
		return entry{id, 1, false}, true
	case "install":
		return entry{install, 1, false}, true
	case "join":
		return entry{join, 1, false}, true
	case "kill":
		return entry{kill, 1, false}, true
	case "ln":
		return entry{ln, 1, false}, true
	case "ls":
		return entry{ls, 2, false}, true
	case "md5sum", "sha1sum", "sha256sum", "sha384sum", "sha512sum":
		return entry{sum, 1, false}, true
	case "mkdir":
		return entry{mkdir, 1, false}, true
	case "mktemp":
		return entry{mktemp, 1, false}, true
	case "mv":
		return entry{mv, 1, false}, true
	case "nl":
		return entry{nl, 1, false}, true
	case "nproc":
		return entry{nproc, 1, false}, true
	case "od":
		return entry{od, 1, false}, true
	case "paste":
		return entry{paste, 1, false}, true
	case "printenv":
		return entry{printenv, 2, false}, true
	case "pwd":
		return entry{pwd, 1, false}, true
	case "readlink":
		return entry{readlink, 1, false}, true
	case "realpath":
		return entry{realpath, 1, false}, true
	case "rev":
		return entry{rev, 1, false}, true
	case "rm":
		return entry{rm, 1, false}, true
	case "rmdir":
		return entry{rmdir, 1, false}, true
	case "sed":
		return entry{sed, 1, false}, true
	case "seq":
		return entry{seq, 1, false}, true
	case "sh":
		return entry{sh, 2, true}, true
	case "sleep":
		return entry{sleep, 1, false}, true
	case "sort":
		return entry{sortApplet, 2, false}, true
	case "split":
		return entry{split, 1, false}, true
	case "stat":
		return entry{stat, 1, false}, true
	case "sync":
		return entry{syncApplet, 1, false}, true
	case "tac":
		return entry{tac, 1, false}, true
	case "tail":
		return entry{tail, 1, false}, true
	case "tar":
		return entry{tarApplet, 2, false}, true
	case "tee":
		return entry{tee, 1, false}, true
	case "timeout":
		return entry{timeout, 125, false}, true
	case "touch":
		return entry{touch, 1, false}, true
	case "tr":
		return entry{tr, 1, false}, true
	case "true":
		return entry{trueApplet, 1, false}, true
	case "truncate":
		return entry{truncate, 1, false}, true
	case "tty":
		return entry{tty, 2, false}, true
	case "uname":
		return entry{uname, 1, false}, true
	case "uniq":
		return entry{uniq, 1, false}, true
	case "wc":
		return entry{wc, 1, false}, true
	case "which":
		return entry{which, 1, false}, true
	case "whoami":
		return entry{whoami, 1, false}, true
	case "xargs":
		return entry{xargs, 1, false}, true
	case "yes":
		return entry{yes, 1, false}, true
	}
	return lookupLanguage(name)
}
