/* WASI knows no users: every look-up finds none. */
#ifndef CORPUS_PWD_H
#define CORPUS_PWD_H
#include <sys/types.h>

struct passwd {
	char *pw_name, *pw_passwd, *pw_gecos, *pw_dir, *pw_shell;
	uid_t pw_uid;
	gid_t pw_gid;
};

static inline struct passwd *getpwuid(uid_t user) { (void)user; return 0; }
static inline struct passwd *getpwnam(const char *name) { (void)name; return 0; }
#endif
