/* The pid file. It is locked (flock(2)) as long as the process lives, so a file that nobody has
 * locked is stale, whatever number it holds. Thread: main. */
#ifndef LB4_CONTROL_PID_FILE_H
#define LB4_CONTROL_PID_FILE_H

#include <sys/types.h>

enum { PID_FILE_ERROR_MAX = 256 }; /* with the NUL; a long path is cut */

struct pid_file {
    int fd; /* holds the lock; -1 = not open */
    const char *path;
    dev_t device;
    ino_t inode;
};

/* Create or take over `path` (which the caller keeps alive), mode 0644, and write our process id
 * into it. Refused: a symbolic link, anything but a regular file with one name, a file that holds
 * something else than a process id, one that a living process has locked. Returns 0, or -errno with
 * a sentence in `reterr`: -EAGAIN locked, -ELOOP a link, -EINVAL not a pid file, others as
 * open(2). Call it before privileges are dropped, for the sake of /run. */
int pid_file_open(struct pid_file *ret, const char *path, char reterr[static PID_FILE_ERROR_MAX]);

/* Remove the file if it is still ours, or empty it where the directory does not let us, and release
 * the lock. May be called again, and on an object whose fd is -1. */
void pid_file_close(struct pid_file *file);

#endif
