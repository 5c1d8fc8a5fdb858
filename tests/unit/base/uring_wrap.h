/* For tests of what uses base/uring: the two system calls of io_uring fail on request. Link with
 * WRAP syscall. */
#ifndef TEST_URING_WRAP_H
#define TEST_URING_WRAP_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* What the next calls do. */
static struct uring_wrap {
    int setup_error;
    uint32_t setup_features_off; /* what this kernel is said not to have */
    int enter_error;
    unsigned enter_after; /* so many calls are let through first */
    unsigned enter_times; /* so many fail then; 0 = all */
    uint32_t enter_most;  /* sends that one call takes, 0 = all */
    bool enter_takes_none;
    unsigned n_enters; /* calls of io_uring_enter */
    unsigned n_failed;
} uring_wrap;

/* Is it the place that has no ring for us, so that there is nothing to test? What does not work on
 * a kernel that can do it is a bug of ours. */
static inline bool uring_wrap_is_forbidden(int error)
{
    struct utsname name;
    int major = 0;
    int minor = 0;

    if (error == -EPERM || error == -EACCES || error == -ENOSYS)
        return true;
    uname(&name);
    sscanf(name.release, "%d.%d", &major, &minor);
    return error == -EOPNOTSUPP && (major < 6 || (major == 6 && minor < 1));
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static inline bool uring_wrap_fails(void)
{
    if (!uring_wrap.enter_error && !uring_wrap.enter_takes_none)
        return false;
    if (uring_wrap.enter_after) {
        uring_wrap.enter_after--;
        return false;
    }
    if (uring_wrap.enter_times && uring_wrap.n_failed == uring_wrap.enter_times)
        return false;
    uring_wrap.n_failed++;
    errno = uring_wrap.enter_error;
    return true;
}

static inline long uring_wrap_setup(unsigned n, struct io_uring_params *params)
{
    long fd;

    if (uring_wrap.setup_error) {
        errno = uring_wrap.setup_error;
        return -1;
    }
    fd = __real_syscall(SYS_io_uring_setup, n, params);
    params->features &= ~uring_wrap.setup_features_off;
    return fd;
}

long __wrap_syscall(long number, ...)
{
    va_list words;
    long a, b, c, d, e, f;

    va_start(words, number);
    a = va_arg(words, long);
    b = va_arg(words, long);
    c = va_arg(words, long);
    d = va_arg(words, long);
    e = va_arg(words, long);
    f = va_arg(words, long);
    va_end(words);
    if (number == SYS_io_uring_setup)
        return uring_wrap_setup((unsigned)a, (struct io_uring_params *)b);
    if (number != SYS_io_uring_enter)
        return __real_syscall(number, a, b, c, d, e, f);
    uring_wrap.n_enters++;
    if (uring_wrap_fails())
        return uring_wrap.enter_error ? -1 : 0;
    if (uring_wrap.enter_most && (uint32_t)b > uring_wrap.enter_most)
        b = uring_wrap.enter_most;
    return __real_syscall(number, a, b, c, d, e, f);
}

#endif
