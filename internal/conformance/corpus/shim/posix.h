/* What command-line programs expect of POSIX and wasi-libc lacks: users, permissions, processes. Included before each source file
 * of the corpus. Everything here either does nothing, successfully, or fails with ENOSYS; none of it reaches the host. */
#ifndef CORPUS_POSIX_H
#define CORPUS_POSIX_H

#ifndef __ASSEMBLER__
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define SHIM static inline __attribute__((unused))

SHIM int chmod(const char *path, mode_t mode) { (void)path, (void)mode; return 0; }
SHIM int fchmod(int fd, mode_t mode) { (void)fd, (void)mode; return 0; }
SHIM int chown(const char *path, uid_t user, gid_t group) { (void)path, (void)user, (void)group; return 0; }
SHIM int fchown(int fd, uid_t user, gid_t group) { (void)fd, (void)user, (void)group; return 0; }
SHIM mode_t umask(mode_t mask) { (void)mask; return 022; }
SHIM uid_t getuid(void) { return 0; }
SHIM uid_t geteuid(void) { return 0; }
SHIM gid_t getgid(void) { return 0; }
SHIM gid_t getegid(void) { return 0; }
SHIM int dup(int fd) { (void)fd; errno = ENOSYS; return -1; }
SHIM int dup2(int from, int to) { (void)from, (void)to; errno = ENOSYS; return -1; }
SHIM int system(const char *command) { (void)command; errno = ENOSYS; return -1; }
SHIM FILE *popen(const char *command, const char *mode) { (void)command, (void)mode; errno = ENOSYS; return 0; }
SHIM int pclose(FILE *stream) { (void)stream; errno = ENOSYS; return -1; }
SHIM FILE *shim_tmpfile(void) { errno = ENOSYS; return 0; }
#define tmpfile shim_tmpfile
SHIM unsigned alarm(unsigned seconds) { (void)seconds; return 0; }

/* Advisory locks: a process alone always gets them. */
#define F_GETLK 1001
#define F_SETLK 1002
#define F_SETLKW 1003
#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2
SHIM int shim_fcntl(int fd, int command, ...)
{
	va_list arguments;
	va_start(arguments, command);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (command == F_GETLK)
		((struct flock *)argument)->l_type = F_UNLCK;
	if (command >= F_GETLK && command <= F_SETLKW)
		return 0;
	return fcntl(fd, command, (int)(long)argument);
}
#define fcntl shim_fcntl

#endif
#endif
