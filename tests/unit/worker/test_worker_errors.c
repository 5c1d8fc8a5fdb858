/* worker/worker where the kernel or the memory fails. */
#include "lb4/worker/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>

#include "crew.h"

static int accepts_to_fail; /* the next so many calls of accept4(), with accept_error */
static int accept_error;
static int adds_to_fail; /* the next so many EPOLL_CTL_ADD, with ENOMEM */
static int n_accepts;
static int n_waits;
static int allocation_to_fail = -1; /* counted down by aligned_alloc(); -1 = none */

static bool takes_one(int *counter)
{
    int left = __atomic_load_n(counter, __ATOMIC_SEQ_CST);

    while (left > 0) {
        if (__atomic_compare_exchange_n(counter, &left, left - 1, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return true;
    }
    return false;
}

static void set(int *counter, int value)
{
    __atomic_store_n(counter, value, __ATOMIC_SEQ_CST);
}

static int get(const int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

int __real_accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags);
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags);
int __real_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __real_epoll_wait(int epoll_fd, struct epoll_event *events, int n, int timeout_ms);
int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int n, int timeout_ms);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

/* The workers' own calls: the test accepts from `server_fd`. */
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags)
{
    if (fd == crew.server_fd)
        return __real_accept4(fd, peer, length, flags);
    __atomic_add_fetch(&n_accepts, 1, __ATOMIC_SEQ_CST);
    if (takes_one(&accepts_to_fail)) {
        errno = get(&accept_error);
        return -1;
    }
    return __real_accept4(fd, peer, length, flags);
}

int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    if (operation == EPOLL_CTL_ADD && takes_one(&adds_to_fail)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_epoll_ctl(epoll_fd, operation, fd, event);
}

int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int n, int timeout_ms)
{
    __atomic_add_fetch(&n_waits, 1, __ATOMIC_SEQ_CST);
    return __real_epoll_wait(epoll_fd, events, n, timeout_ms);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    if (allocation_to_fail >= 0 && allocation_to_fail-- == 0)
        return NULL;
    return __real_aligned_alloc(alignment, size);
}

/* No descriptors: 100 ms of pause each time instead of a spin, then the client is served. */
static void test_no_descriptors_pauses(void **state)
{
    struct guest guest;
    uint64_t before_ns;

    (void)state;
    crew_open(MAXCONN);
    before_ns = clock_now_ns();
    set(&n_accepts, 0);
    set(&accept_error, EMFILE);
    set(&accepts_to_fail, 2);
    guest = guest_open(0);
    check_echo(&guest);
    assert_int_equal(pauses(), 2);
    assert_true(clock_now_ns() - before_ns >= 200 * CLOCK_NS_PER_MS);
    assert_int_equal(get(&n_accepts), 3);
    guest_close(&guest);
    crew_close();
}

/* An error of one connection in the queue is no reason to stop. */
static void test_aborted_connection_is_passed_over(void **state)
{
    struct guest guest;

    (void)state;
    crew_open(MAXCONN);
    set(&accept_error, ECONNABORTED);
    set(&accepts_to_fail, 3);
    guest = guest_open(0);
    check_echo(&guest);
    assert_int_equal(pauses(), 0);
    guest_close(&guest);
    crew_close();
}

/* A listener that cannot be added again: the others must not stay armed while accepting pauses,
 * level-triggered with a client in their queue. */
static void test_failed_resume_does_not_spin(void **state)
{
    struct guest guest;

    (void)state;
    crew_open(MAXCONN);
    set(&accept_error, EMFILE);
    set(&accepts_to_fail, 1);
    guest.client_fd = sockets_connect(&crew.fronts[1]);
    while (pauses() == 0)
        ;
    set(&n_waits, 0);
    set(&adds_to_fail, 1);
    guest.server_fd = sockets_accept(crew.server_fd);
    check_echo(&guest);
    assert_in_range(get(&n_waits), 1, 200);
    guest_close(&guest);
    crew_close();
}

/* No memory at any allocation of the start: nothing is kept, nothing foreign is closed. */
static void test_init_without_memory(void **state)
{
    int error = -ENOMEM;

    (void)state;
    for (int i = 0; error; i++) {
        crew_prepare(MAXCONN);
        allocation_to_fail = i;
        error = worker_group_init(&crew.group, N_WORKERS, &crew.options);
        allocation_to_fail = -1;
        assert_true(error == 0 || error == -ENOMEM);
        if (error == 0)
            worker_group_fini(&crew.group);
        else
            assert_true(i < 100);
        assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0);
        crew_tables_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_descriptors_pauses),
        cmocka_unit_test(test_aborted_connection_is_passed_over),
        cmocka_unit_test(test_failed_resume_does_not_spin),
        cmocka_unit_test(test_init_without_memory),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
