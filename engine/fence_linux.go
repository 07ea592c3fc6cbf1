//nolint:gosec // system calls that take structures
package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The fence is made of Landlock system calls rather than of a library for them:
// those confine every thread with helpers that do not work in a binary that
// loads C code without cgo (AllThreadsSyscall refuses), so the process confines
// one thread and starts its executable again from it. A thread's domain and
// its no_new_privs survive execve, and after it there is no other thread.

// What a rule may grant. Numbers are the kernel's.
const (
	fenceRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	fenceExec  = fenceRead | unix.LANDLOCK_ACCESS_FS_EXECUTE
	fenceWrite = fenceRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	fenceSocket = fenceRead | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	fenceDevice = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	// fenceFile are the rights that a rule on a single file may name.
	fenceFile = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// Landlock ABI versions at which an ability came.
const (
	abiRefer    = 2
	abiTruncate = 3
	abiNetwork  = 4
	abiIoctl    = 5
	abiScopes   = 6
)

// Paths of the system that the library and the Go runtime read. What does not
// exist is left out. /proc is not open as a whole: the environment and the
// memory of other processes of the same user are in it.
var (
	fenceSystem  = []string{"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib"}
	fenceRuntime = []string{
		"/proc/self/status", "/proc/self/statm", "/proc/self/stat", "/proc/self/smaps_rollup", "/proc/self/maps",
		"/proc/self/limits", "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/self/mounts", "/proc/self/fd", "/proc/self/task",
		"/proc/self/io", "/proc/self/net/dev", "/proc/self/auxv",
		"/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/vmstat", "/proc/version",
		"/proc/filesystems", "/proc/sys/vm", "/proc/sys/kernel", "/proc/pressure",
		"/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm", "/sys/block", "/sys/class/block",
		"/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache", "/etc/ld.so.preload",
		"/etc/ld.so.conf", "/etc/ld.so.conf.d", "/dev/urandom", "/dev/random", "/usr/share/locale", "/usr/lib/locale",
	}
)

// landlockABI is the kernel's Landlock version; 0 where there is none.
func landlockABI() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// fenceOf is what a fence made by a kernel with that Landlock is worth.
func fenceOf(abi int) Fence {
	switch {
	case abi >= abiNetwork:
		return FenceFull
	case abi > 0:
		return FenceFiles
	default:
		return FenceNone
	}
}

// fence is how far a process started with these options is confined.
func (o ServeOptions) fence() Fence {
	if !o.fenced {
		return FenceNone
	}
	return fenceOf(landlockABI())
}

// enterFence confines the process and starts it again inside the fence, with an
// empty environment. It returns nil when it cannot, after saying so loudly.
func enterFence(o ServeOptions, log *slog.Logger) error {
	abi := landlockABI()
	if o.NoFence || abi == 0 {
		reason := "the kernel has no Landlock"
		if o.NoFence {
			reason = "it was switched off"
		}
		FenceNone.warn(log, slog.String("reason", reason))
		clearEnv()
		return nil
	}
	fenceOf(abi).warn(log, slog.Int("abi", abi))
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // never unlocked: on success the thread becomes the process
	if err := confine(o, exe, abi); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	// The options were resolved here; inside the fence the search for the
	// library could not look around.
	args := append(slices.Clone(os.Args), "--fenced", "--dir="+o.Dir, "--socket="+o.Socket, "--library="+o.Library)
	return fmt.Errorf("fence: start again: %w", unix.Exec(exe, args, childEnv))
}

// rulesetAttr is the kernel's landlock_ruleset_attr as of ABI 6. The kernel
// takes a shorter one from older programs, so its size says what is meant.
type rulesetAttr struct{ fs, net, scoped uint64 }

// confine restricts the calling thread.
func confine(o ServeOptions, exe string, abi int) error {
	attr := rulesetAttr{
		fs: fenceExec | fenceWrite | fenceSocket | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR |
			unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO,
	}
	if abi < abiRefer {
		attr.fs &^= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi < abiTruncate {
		attr.fs &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= abiNetwork {
		// Handled and never granted: no port may be bound or connected to.
		attr.net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= abiIoctl {
		attr.fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= abiScopes {
		attr.scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	size := unsafe.Sizeof(attr)
	switch {
	case abi < abiNetwork:
		size = unsafe.Sizeof(attr.fs)
	case abi < abiScopes:
		size = unsafe.Sizeof(attr.fs) + unsafe.Sizeof(attr.net)
	}
	r, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	fd := int(r)
	defer func() { _ = unix.Close(fd) }()

	type rule struct {
		path   string
		access uint64
		must   bool
	}
	rules := []rule{
		{exe, fenceExec, true},
		{filepath.Dir(o.Library), fenceExec, true},
		{o.Dir, fenceWrite, true},
		{filepath.Dir(o.Socket), fenceSocket, true},
		{"/dev/null", fenceDevice, false},
	}
	for _, p := range fenceSystem {
		rules = append(rules, rule{p, fenceExec, false})
	}
	for _, p := range fenceRuntime {
		rules = append(rules, rule{p, fenceRead, false})
	}
	for _, r := range rules {
		err := allow(fd, r.path, r.access&attr.fs)
		if err != nil && (r.must || !errors.Is(err, unix.ENOENT)) {
			return fmt.Errorf("allow %s: %w", r.path, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0, 0); errno != 0 {
		return fmt.Errorf("landlock_restrict_self: %w", errno)
	}
	return nil
}

func allow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= fenceFile
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// checkFence makes sure that a process which says that it is inside the fence is.
func checkFence() error {
	nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil || nnp != 1 {
		return errors.New("fence: --fenced was given outside the fence")
	}
	f, err := os.Open("/")
	if err == nil {
		_, err = f.ReadDir(1)
		_ = f.Close()
	}
	if !errors.Is(err, os.ErrPermission) {
		return errors.New("fence: the root directory can be read, so there is no fence")
	}
	return nil
}

// setLimits bounds what the process may use: no core files (they hold events),
// and as many files as it may have, for parts are many files.
func setLimits() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	var n unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &n) == nil && n.Cur < n.Max {
		n.Cur = n.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &n)
	}
	unix.Umask(0o077)
}

// sigaction is the kernel's struct on 64-bit Linux.
type sigaction struct{ handler, flags, restorer, mask uint64 }

// saveSignalHandlers remembers the Go runtime's signal handlers; the returned
// function puts them back. The library resets some while it opens, and without
// its own the Go runtime neither preempts goroutines nor prints a crash.
func saveSignalHandlers() func() {
	var saved [65]sigaction
	for sig := 1; sig < len(saved); sig++ {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&saved[sig])), 8, 0, 0)
	}
	return func() {
		for sig := 1; sig < len(saved); sig++ {
			if sig == int(unix.SIGKILL) || sig == int(unix.SIGSTOP) {
				continue
			}
			_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&saved[sig])), 0, 8, 0, 0)
		}
	}
}
