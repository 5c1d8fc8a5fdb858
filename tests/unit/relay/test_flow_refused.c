/* relay/flow where splice(2) is refused: by the sockets, by a sandbox, or by a kernel without it.
 */
#include "lb4/relay/flow.h"

#include <fcntl.h>
#include <signal.h>

#include "flow_line.h"

/* Which calls fail, and with what. */
static struct splice_refusal {
    int error;
    bool is_out;    /* those from a pipe into a socket; else those from a socket */
    unsigned after; /* so many of them succeed before */
    unsigned times; /* so many fail; 0 = all */
    unsigned n_refused;
} refusal;

static struct desk desk;
static struct line line;

static bool refuses(bool is_out)
{
    if (!refusal.error || is_out != refusal.is_out)
        return false;
    if (refusal.after > 0) {
        refusal.after--;
        return false;
    }
    if (refusal.times && refusal.n_refused == refusal.times)
        return false;
    refusal.n_refused++;
    return true;
}

ssize_t __real_splice(int in_fd, off64_t *in_at, int out_fd, off64_t *out_at, size_t n,
                      unsigned flags);
ssize_t __wrap_splice(int in_fd, off64_t *in_at, int out_fd, off64_t *out_at, size_t n,
                      unsigned flags);

ssize_t __wrap_splice(int in_fd, off64_t *in_at, int out_fd, off64_t *out_at, size_t n,
                      unsigned flags)
{
    bool is_out = line.flow.pipe && in_fd == line.flow.pipe->read_fd;

    if (refuses(is_out)) {
        errno = refusal.error;
        return -1;
    }
    return __real_splice(in_fd, in_at, out_fd, out_at, n, flags);
}

/* Portions of 100,000 bytes through a reader who keeps up or stalls, then the end. */
static void transfer(uint32_t max_pipes, int buffer_bytes)
{
    desk_open(&desk, max_pipes);
    line_open(&line, &desk, buffer_bytes);
    for (int i = 0; i < 30; i++) {
        line_write(&line, 100000);
        line_pump(&line);
        line_pump(&line);
        line_read(&line, 65536);
    }
    line_finish(&line);
}

static void check_refused(unsigned n_refused)
{
    assert_int_equal(refusal.n_refused, n_refused);
    assert_int_equal(stats_read(&desk.stats.worker.splice_refused), 1);
    assert_int_equal(stats_read(&desk.stats.worker.dropped_bytes), 0);
    assert_true(line.flow.is_splice_off);
    line_close(&line);
    desk_close(&desk);
}

static void check_all(bool is_out)
{
    static const int errors[] = {EINVAL, ENOSYS, EPERM, EOPNOTSUPP, ENOMEM, ENOBUFS};
    static const unsigned counts[] = {0, 1, 5};
    static const int buffers[] = {0, 4096};

    for (size_t i = 0; i < 6 * 3 * 2; i++) {
        refusal = (struct splice_refusal){
            .error = errors[i % 6], .is_out = is_out, .after = counts[i / 6 % 3]};
        transfer(4, buffers[i / 18]);
        /* Once refused, it is not asked for again on these sockets. */
        check_refused(1);
    }
}

static void test_refused_by_source(void **state)
{
    (void)state;
    check_all(false);
}

/* What is in the pipe already goes first, by copy. */
static void test_refused_by_sink(void **state)
{
    (void)state;
    check_all(true);
}

/* An error that is none of splice's own, with the last bytes and the end there to be copied: they
 * are delivered, and it is an end, not a failure. */
static void test_failed_before_the_end(void **state)
{
    (void)state;
    desk_open(&desk, 4);
    line_open(&line, &desk, 0);
    line_write(&line, FLOW_BULK_BYTES);
    line_pump(&line);
    line_write(&line, 5000);
    shutdown(line.writer_fd, SHUT_WR);
    sockets_wait(line.from.source.fd, POLLRDHUP);
    refusal = (struct splice_refusal){.error = EIO};
    assert_int_equal(line_pump(&line), FLOW_ENDED);
    assert_int_equal(refusal.n_refused, 1);
    assert_int_equal(line.from.error, 0);
    line_finish(&line);
    line_close(&line);
    desk_close(&desk);
}

static void test_refused_by_sink_scarce(void **state)
{
    (void)state;
    refusal = (struct splice_refusal){.error = EINVAL, .is_out = true};
    transfer(1, 4096);
    check_refused(1);
}

/* A line that is in bulk, with 60,000 bytes to read. */
static void open_bulk(void)
{
    refusal = (struct splice_refusal){0};
    desk_open(&desk, 4);
    line_open(&line, &desk, 0);
    for (int i = 0; i < 2; i++) {
        line_pump_through(&line, line.n_written);
        line_write(&line, 60000);
        line_wait_queued(&line.from, 60000);
    }
    assert_true(line.flow.is_bulk);
}

static void close_bulk(void)
{
    line_finish(&line);
    assert_int_equal(stats_read(&desk.stats.worker.splice_refused), 0);
    assert_false(line.flow.is_splice_off);
    assert_true(stats_read(&desk.stats.worker.relayed_splice) >= 60000);
    line_close(&line);
    desk_close(&desk);
}

static void test_interrupted_is_repeated(void **state)
{
    (void)state;
    for (int is_out = 0; is_out < 2; is_out++) {
        open_bulk();
        refusal = (struct splice_refusal){.error = EINTR, .is_out = is_out, .times = 3};
        line_pump_through(&line, line.n_written);
        assert_int_equal(refusal.n_refused, 3);
        close_bulk();
    }
}

/* An empty socket is no refusal, and gives the pipe back. */
static void test_empty_source(void **state)
{
    (void)state;
    open_bulk();
    refusal = (struct splice_refusal){.error = EAGAIN, .times = 1};
    assert_int_equal(line_pump(&line), FLOW_IDLE);
    assert_int_equal(refusal.n_refused, 1);
    assert_false(line.from.is_readable);
    assert_int_equal(desk.context.pipes.n_lent, 0);
    assert_int_equal(desk.context.pipes.n_idle, 1);
    line.from.is_readable = true;
    close_bulk();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_by_source),
        cmocka_unit_test(test_refused_by_sink),
        cmocka_unit_test(test_refused_by_sink_scarce),
        cmocka_unit_test(test_failed_before_the_end),
        cmocka_unit_test(test_interrupted_is_repeated),
        cmocka_unit_test(test_empty_source),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
