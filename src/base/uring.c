#include "lb4/base/uring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    TRIAL_BYTES = 64 * 1024 /* more than the trial's socket takes at once */
};

void uring_clear(struct uring *uring)
{
    *uring = (struct uring){0};
}

bool uring_is_open(const struct uring *uring)
{
    return uring->sqes != NULL;
}

static uint32_t *word_at(const struct uring *uring, uint32_t offset)
{
    return (uint32_t *)((char *)uring->rings + offset);
}

static size_t ring_bytes(const struct io_uring_params *params)
{
    size_t sq = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
    size_t cq = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);

    return sq > cq ? sq : cq;
}

static void *map(const struct uring *uring, size_t n, off_t what)
{
    return mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, uring->fd, what);
}

static int map_rings(struct uring *uring, const struct io_uring_params *params)
{
    size_t n_bytes = ring_bytes(params);
    void *rings = map(uring, n_bytes, IORING_OFF_SQ_RING);

    if (rings == MAP_FAILED)
        return -errno;
    uring->rings = rings;
    uring->n_ring_bytes = n_bytes;
    uring->n_entries = params->sq_entries;
    uring->cq_mask = params->cq_entries - 1;
    uring->sq_tail = word_at(uring, params->sq_off.tail);
    uring->sq_array = word_at(uring, params->sq_off.array);
    uring->cq_head = word_at(uring, params->cq_off.head);
    uring->cq_tail = word_at(uring, params->cq_off.tail);
    uring->cqes = (struct io_uring_cqe *)(void *)word_at(uring, params->cq_off.cqes);
    return 0;
}

static int map_entries(struct uring *uring)
{
    void *sqes = map(uring, uring->n_entries * sizeof(*uring->sqes), IORING_OFF_SQES);

    if (sqes == MAP_FAILED)
        return -errno;
    uring->sqes = sqes;
    memset(sqes, 0, uring->n_entries * sizeof(*uring->sqes));
    for (uint32_t i = 0; i < uring->n_entries; i++) {
        uring->sq_array[i] = i;
        uring->sqes[i].opcode = IORING_OP_SEND;
        uring->sqes[i].flags = IOSQE_CQE_SKIP_SUCCESS;
        uring->sqes[i].msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL;
    }
    return 0;
}

static int map_all(struct uring *uring, const struct io_uring_params *params)
{
    int error;

    if (!(params->features & IORING_FEAT_SINGLE_MMAP) || !(params->features & IORING_FEAT_CQE_SKIP))
        return -EOPNOTSUPP;
    error = map_rings(uring, params);
    return error ? error : map_entries(uring);
}

static void unmap(struct uring *uring)
{
    if (uring->sqes)
        munmap(uring->sqes, uring->n_entries * sizeof(*uring->sqes));
    if (uring->rings)
        munmap(uring->rings, uring->n_ring_bytes);
    close(uring->fd);
    uring_clear(uring);
}

/* Two sends to a socket that takes all of the first and a part of the second: does the kernel
 * answer only the second, with what the other end then finds? */
static bool answers_as_said(struct uring *uring, int to, int from)
{
    static const uint8_t bytes[TRIAL_BYTES];
    struct uring_failure failure = {0};
    uint32_t n_taken;
    int n_arrived = 0;

    uring_send(uring, to, bytes, 1);
    uring_send(uring, to, bytes, sizeof(bytes));
    if (uring_submit(uring, &n_taken) || !uring_next_failure(uring, &failure) ||
        ioctl(from, FIONREAD, &n_arrived) < 0)
        return false;
    return failure.index == 1 && failure.n_sent > 0 && failure.n_sent < sizeof(bytes) &&
           n_arrived == 1 + (int)failure.n_sent && !uring_next_failure(uring, &failure);
}

static int try_out(struct uring *uring)
{
    int ends[2];
    int small = 1; /* the kernel makes it its least */
    bool is_as_said;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return -errno;
    is_as_said = setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0 &&
                 answers_as_said(uring, ends[0], ends[1]);
    close(ends[0]);
    close(ends[1]);
    return is_as_said ? 0 : -EOPNOTSUPP;
}

int uring_init(struct uring *uring, uint32_t n)
{
    struct io_uring_params params = {.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL};
    int error;

    uring_clear(uring);
    uring->fd = (int)syscall(SYS_io_uring_setup, n, &params); /* close-on-exec by itself */
    if (uring->fd < 0) {
        error = -errno;
        uring_clear(uring);
        return error;
    }
    error = map_all(uring, &params);
    if (!error)
        error = try_out(uring);
    if (error)
        unmap(uring);
    return error;
}

void uring_fini(struct uring *uring)
{
    if (uring_is_open(uring))
        unmap(uring);
}

/* Every submission takes all that is queued or none stays, so that the ring is empty before the
 * first of a round and an entry's index needs no head. */
void uring_send(struct uring *uring, int fd, const void *bytes, size_t n)
{
    uint32_t tail = *uring->sq_tail;
    struct io_uring_sqe *sqe = &uring->sqes[tail & (uring->n_entries - 1)];

    sqe->fd = fd;
    sqe->addr = (uintptr_t)bytes;
    sqe->len = (uint32_t)n;
    sqe->user_data = (uint64_t)uring->n_queued << 32 | (uint32_t)n;
    __atomic_store_n(uring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    uring->n_queued++;
}

int uring_submit(struct uring *uring, uint32_t *ret_taken)
{
    uint32_t n = uring->n_queued;
    uint32_t n_taken = 0;
    int error = 0;

    uring->n_queued = 0;
    while (n_taken < n && !error) {
        long taken = syscall(SYS_io_uring_enter, uring->fd, n - n_taken, 0, 0, NULL, 0);

        if (taken > 0)
            n_taken += (uint32_t)taken;
        else if (taken == 0 || errno != EINTR)
            error = taken == 0 ? -EIO : -errno;
    }
    if (error) /* take back what the kernel has not read */
        __atomic_store_n(uring->sq_tail, *uring->sq_tail - (n - n_taken), __ATOMIC_RELEASE);
    *ret_taken = n_taken;
    return error;
}

/* io_uring_enter(2) ERRORS. The kernel that takes none and names no error sees none: that stays. */
bool uring_error_passes(int error)
{
    return error == -EAGAIN || error == -EBUSY || error == -ENOMEM || error == -ENOBUFS;
}

bool uring_next_failure(struct uring *uring, struct uring_failure *failure)
{
    uint32_t head = *uring->cq_head;
    const struct io_uring_cqe *cqe = &uring->cqes[head & uring->cq_mask];

    if (head == __atomic_load_n(uring->cq_tail, __ATOMIC_ACQUIRE))
        return false;
    *failure = (struct uring_failure){.index = (uint32_t)(cqe->user_data >> 32),
                                      .n_sent = cqe->res > 0 ? (uint32_t)cqe->res : 0,
                                      .error = cqe->res < 0 ? -cqe->res : 0};
    __atomic_store_n(uring->cq_head, head + 1, __ATOMIC_RELEASE);
    return true;
}
