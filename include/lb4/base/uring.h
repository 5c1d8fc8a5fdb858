/* An io_uring(7) for one purpose: many small send(2)s in one system call. What is queued is sent in
 * order within uring_submit(), on the calling thread, and nothing stays under way behind it: a
 * socket that takes no more is a failure like any other, so that sockets may be closed and bytes be
 * overwritten as soon as it returns.
 *
 * The kernel answers only those sends that did not take every byte (IOSQE_CQE_SKIP_SUCCESS with
 * MSG_WAITALL, Linux 5.17; how many bytes were taken before a failure it tells since 6.1).
 * uring_init() does not go by versions: it has the kernel send and compares the answers. Many
 * places forbid the system call (seccomp of containers, kernel.io_uring_disabled): then there is no
 * ring, and its owner calls send(2).
 *
 * A ring belongs to one thread at a time; the one that makes it need not be the one that uses it.
 */
#ifndef LB4_BASE_URING_H
#define LB4_BASE_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct io_uring_cqe;
struct io_uring_sqe;

/* Its fields are uring.c's own. */
struct uring {
    int fd; /* while it is open */
    uint32_t n_queued;
    uint32_t n_entries; /* of the queue of sends */
    uint32_t cq_mask;
    uint32_t *sq_tail; /* these four and the entries: shared with the kernel */
    uint32_t *sq_array;
    uint32_t *cq_head;
    uint32_t *cq_tail;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void *rings;
    size_t n_ring_bytes;
};

/* A send that did not take all. */
struct uring_failure {
    uint32_t index;  /* of the send since the last uring_submit(), from 0 */
    uint32_t n_sent; /* bytes that were taken */
    int error; /* errno, EAGAIN if the socket just takes no more; 0: ask send(2) for the rest */
};

/* No ring: uring_is_open() is false, uring_fini() does nothing. Zeros are as good. */
void uring_clear(struct uring *uring);

/* A ring with room for `n` sends, a power of 2 up to 4096. Returns 0, -errno of io_uring_setup(2)
 * or mmap(2) (-EPERM, -ENOSYS: forbidden or unknown here; -ENOMEM, -EMFILE), or -EOPNOTSUPP: the
 * kernel's answers are not as described above. On failure there is no ring. */
int uring_init(struct uring *uring, uint32_t n);
void uring_fini(struct uring *uring);

bool uring_is_open(const struct uring *uring);

/* Queue a send to a stream socket; `bytes` stay as they are until uring_submit(). There is room:
 * fewer than `n` are queued. */
void uring_send(struct uring *uring, int fd, const void *bytes, size_t n);

/* Send what is queued. Returns 0, or -errno of io_uring_enter(2) if the kernel took none or only
 * some of them: those from *ret_taken on were not sent, and are queued no more. */
int uring_submit(struct uring *uring, uint32_t *ret_taken);

/* Is it a want of memory or the like, so that the next uring_submit() may do better than the one
 * that returned this error? If not, the ring is of no use any more. */
bool uring_error_passes(int error);

/* The next send that failed, in no certain order, after uring_submit(). All are to be taken. */
bool uring_next_failure(struct uring *uring, struct uring_failure *failure);

#endif
