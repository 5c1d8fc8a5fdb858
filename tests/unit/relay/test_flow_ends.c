/* relay/flow where one of the two sockets ends, resets, or takes no more. */
#include "lb4/relay/flow.h"

#include <linux/sockios.h>
#include <signal.h>

#include "flow_line.h"

static struct desk desk;
static struct line line;

/* Calls of recv(2) on the socket that the flow reads. */
static int n_reads;

ssize_t __real_recv(int fd, void *bytes, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t n, int flags);

ssize_t __wrap_recv(int fd, void *bytes, size_t n, int flags)
{
    n_reads += fd == line.from.source.fd;
    return __real_recv(fd, bytes, n, flags);
}

/* Calls of send(2) that let the kernel keep bytes back. */
static int n_kept_back;

ssize_t __real_send(int fd, const void *bytes, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t n, int flags);

ssize_t __wrap_send(int fd, const void *bytes, size_t n, int flags)
{
    n_kept_back += (flags & MSG_MORE) != 0;
    return __real_send(fd, bytes, n, flags);
}

/* --- ends ----------------------------------------------------------------------------------- */

static void test_end_of_nothing(void **state)
{
    (void)state;
    desk_open(&desk, 1);
    line_open(&line, &desk, 0);
    assert_int_equal(line_pump(&line), FLOW_IDLE);
    line_finish(&line);
    assert_int_equal(line.from.error, 0);
    line_close(&line);
    desk_close(&desk);
}

/* The end is read long before the last byte is delivered. */
static void end_behind_stalled_reader(uint32_t max_pipes)
{
    desk_open(&desk, max_pipes);
    line_open(&line, &desk, STALL_BUFFER);
    line_write(&line, 50000);
    shutdown(line.writer_fd, SHUT_WR);
    line_wait_queued(&line.from, 50000);
    sockets_wait(line.from.source.fd, POLLRDHUP);
    line_pump_until(&line, FLOW_BLOCKED);
    while (line.n_read < 20000) {
        line_read(&line, 1000);
        assert_int_equal(line_pump(&line), FLOW_BLOCKED);
    }
    assert_true(line.flow.n_held > 0);
    line_finish(&line);
    line_close(&line);
    desk_close(&desk);
}

static void test_end_waits_for_the_last_byte(void **state)
{
    (void)state;
    end_behind_stalled_reader(0);
    end_behind_stalled_reader(1);
}

/* --- ends that were told with the last bytes ---------------------------------------------------
 */

static void write_last(size_t n)
{
    line_write(&line, n);
    shutdown(line.writer_fd, SHUT_WR);
    sockets_wait(line.from.source.fd, POLLRDHUP);
    n_reads = 0;
}

/* All of it reaches the reader, and the end behind it. */
static void check_all_came(void)
{
    struct patience patience = patience_new();

    assert_int_equal(line.flow.n_sent, line.n_written);
    do {
        sockets_wait(line.reader_fd, POLLIN);
        assert_true(patience_holds(&patience));
    } while (line_read(&line, 65536));
    assert_int_equal(line.n_read, line.n_written);
}

static void end_with(size_t n, int n_wanted_reads)
{
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    write_last(n);
    assert_int_equal(line_pump(&line), FLOW_ENDED);
    assert_int_equal(n_reads, n_wanted_reads);
    assert_int_equal(line.from.error, 0);
    assert_false(line.from.is_readable);
    check_all_came();
    line_close(&line);
    desk_close(&desk);
}

/* It is not read once more after a short read; a full one may have more behind it. */
static void test_end_behind_a_short_read(void **state)
{
    (void)state;
    end_with(0, 1);
    end_with(1, 1);
    end_with(FLOW_READ_BYTES - 1, 1);
    end_with(FLOW_READ_BYTES, 2);
    end_with(FLOW_READ_BYTES + 1, 2);
}

/* The last bytes are kept back for the end, but not where the kernel may put the end off. */
static void end_to(bool is_early, int n_wanted_kept)
{
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    line.to.is_early = is_early;
    write_last(100);
    n_kept_back = 0;
    assert_int_equal(line_pump(&line), FLOW_ENDED);
    assert_int_equal(n_kept_back, n_wanted_kept);
    check_all_came();
    line_close(&line);
    desk_close(&desk);
}

static void test_end_of_an_early_client(void **state)
{
    (void)state;
    end_to(false, 1);
    end_to(true, 0);
}

/* The read stops at the mark, with more behind it. */
static void test_end_behind_an_urgent_byte(void **state)
{
    (void)state;
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    line_write(&line, 100);
    assert_int_equal(send(line.writer_fd, "!", 1, MSG_OOB), 1);
    write_last(100);
    assert_int_equal(line_pump(&line), FLOW_ENDED);
    check_all_came();
    line_close(&line);
    desk_close(&desk);
}

/* So it does on a Unix socket behind descriptors. */
static void send_with_descriptor(int fd, uint8_t byte)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec bytes = {&byte, 1};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};

    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    assert_int_equal(sendmsg(fd, &message, 0), 1);
}

static void test_end_behind_a_descriptor(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    desk_open(&desk, 0);
    line_open_on(&line, &desk, (struct pair){fds[0], fds[1]}, sockets_pair(0));
    send_with_descriptor(line.writer_fd, sockets_byte(0));
    line.n_written++;
    write_last(100);
    assert_int_equal(line_pump(&line), FLOW_ENDED);
    check_all_came();
    line_close(&line);
    desk_close(&desk);
}

static void reset_behind_fin(void)
{
    sock_reset(line.writer_fd);
    line.writer_fd = -1;
    sockets_wait(line.from.source.fd, POLLERR);
}

/* The reader stops in the midst of the last bytes. The rest is not kept back for the end: a reset
 * may come in its place. */
static void end_behind_a_short_send(bool has_reset)
{
    struct patience patience = patience_new();

    desk_open(&desk, 0);
    line_open(&line, &desk, STALL_BUFFER);
    write_last(FLOW_READ_BYTES - 1);
    assert_int_equal(line_pump(&line), FLOW_BLOCKED);
    assert_true(line.flow.is_ended && line.flow.n_held > 0);
    if (has_reset) {
        reset_behind_fin();
        desk_note(&desk);
    }
    n_kept_back = 0;
    while (line_pump(&line) != FLOW_ENDED && patience_holds(&patience))
        line_read(&line, 1000);
    assert_int_equal(n_kept_back, 0);
    assert_int_equal(line.from.error, has_reset ? EPIPE : 0);
    while (line.n_read < line.n_written && patience_holds(&patience))
        line_read(&line, 65536);
    line_close(&line);
    desk_close(&desk);
}

static void test_end_behind_a_short_send(void **state)
{
    (void)state;
    end_behind_a_short_send(false);
    end_behind_a_short_send(true);
}

/* Bytes that the kernel keeps back. */
static int n_unsent(int fd)
{
    int n = -1;

    assert_int_equal(ioctl(fd, SIOCOUTQNSD, &n), 0);
    return n;
}

/* A reset behind the end says that the writer reads no more: told before the bytes are read, or
 * after. */
static void reset_behind_end(bool is_told)
{
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    write_last(100);
    if (!is_told)
        desk_note(&desk);
    reset_behind_fin();
    if (is_told)
        desk_note(&desk);
    assert_int_equal(line_pump_noted(&line), FLOW_ENDED);
    assert_int_equal(line.from.error, is_told ? EPIPE : 0);
    assert_int_equal(n_unsent(line.to.source.fd), 0);
    desk_note(&desk);
    assert_int_equal(line.from.error, EPIPE);
    assert_int_equal(line.flow.n_sent, 100);
    line_close(&line);
    desk_close(&desk);
}

static void test_reset_behind_the_end(void **state)
{
    (void)state;
    reset_behind_end(true);
    reset_behind_end(false);
}

/* --- resets ------------------------------------------------------------------------------------
 */

static void reset_after(size_t n, uint32_t max_pipes)
{
    struct patience patience = patience_new();

    desk_open(&desk, max_pipes);
    line_open(&line, &desk, 0);
    line_write(&line, n);
    line_wait_queued(&line.from, n);
    sock_reset(line.writer_fd);
    line.writer_fd = -1;
    sockets_wait(line.from.source.fd, POLLRDHUP);
    line_pump_until(&line, FLOW_ENDED);
    assert_int_equal(line.from.error, ECONNRESET);
    assert_int_equal(line.flow.n_sent, n);
    while (line.n_read < n && patience_holds(&patience))
        line_read(&line, 65536);
    line_close(&line);
    desk_close(&desk);
}

static void test_reset_comes_after_the_data(void **state)
{
    (void)state;
    for (uint32_t max_pipes = 0; max_pipes < 2; max_pipes++) {
        reset_after(0, max_pipes);
        reset_after(3, max_pipes);
        reset_after(50000, max_pipes);
    }
}

/* The reset is found by the read itself, before epoll told of it. */
static void test_reset_found_by_read(void **state)
{
    (void)state;
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    desk_note(&desk);
    sock_reset(line.writer_fd);
    line.writer_fd = -1;
    sockets_wait(line.from.source.fd, POLLRDHUP);
    line.from.is_readable = true;
    assert_int_equal(flow_pump(&line.flow, &line.from, &line.to, &desk.context), FLOW_ENDED);
    assert_int_equal(line.from.error, ECONNRESET);
    line_close(&line);
    desk_close(&desk);
}

/* --- a reader who has gone -------------------------------------------------------------------- */

static const char LAST_WORDS[] = "too many connections";

/* The reader says its last words, then resets. */
static void reader_leaves(void)
{
    assert_int_equal(send(line.reader_fd, LAST_WORDS, sizeof(LAST_WORDS), 0), sizeof(LAST_WORDS));
    line_wait_queued(&line.to, sizeof(LAST_WORDS));
    sock_reset(line.reader_fd);
    line.reader_fd = -1;
    sockets_wait(line.to.source.fd, POLLRDHUP);
}

/* They still come through, the other way. */
static void check_last_words(void)
{
    struct flow back;
    char words[64];

    flow_init(&back);
    assert_true(line.to.is_readable);
    assert_true(line.to.has_hangup);
    assert_int_equal(flow_pump(&back, &line.to, &line.from, &desk.context), FLOW_ENDED);
    sockets_wait(line.writer_fd, POLLIN);
    assert_int_equal(recv(line.writer_fd, words, sizeof(words), 0), sizeof(LAST_WORDS));
    assert_memory_equal(words, LAST_WORDS, sizeof(LAST_WORDS));
    flow_fini(&back, &desk.context);
}

static void test_broken_sink_found_by_send(void **state)
{
    (void)state;
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    line_write(&line, 5000);
    line_wait_queued(&line.from, 5000);
    desk_note(&desk);
    reader_leaves();
    assert_int_equal(flow_pump(&line.flow, &line.from, &line.to, &desk.context), FLOW_BROKEN);
    assert_true(sock_error_is_reset(line.to.error));
    assert_int_equal(stats_read(&desk.stats.worker.dropped_bytes), 5000);
    check_last_words();
    line_close(&line);
    desk_close(&desk);
}

static void test_broken_sink_told_by_epoll(void **state)
{
    (void)state;
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    line_write(&line, 5000);
    line_wait_queued(&line.from, 5000);
    reader_leaves();
    assert_int_equal(line_pump(&line), FLOW_BROKEN);
    assert_int_equal(line.to.error, ECONNRESET);
    assert_int_equal(line.flow.n_received, 0);
    check_last_words();
    line_close(&line);
    desk_close(&desk);
}

static void break_while_held(uint32_t max_pipes)
{
    uint32_t n_held;

    line_stall(&line, &desk, max_pipes);
    n_held = line.flow.n_held;
    assert_int_equal(line.flow.pipe != NULL, max_pipes > 1);
    reader_leaves();
    assert_int_equal(line_pump(&line), FLOW_BROKEN);
    assert_int_equal(line.flow.n_held, 0);
    assert_null(line.flow.pipe);
    assert_null(line.flow.rest);
    assert_int_equal(stats_read(&desk.stats.worker.dropped_bytes), n_held);
    /* A pipe with bytes inside is never lent again. */
    if (max_pipes > 1)
        assert_int_equal(desk.context.pipes.n_idle, 0);
    check_last_words();
    line_close(&line);
    desk_close(&desk);
}

static void test_broken_sink_drops_what_is_held(void **state)
{
    (void)state;
    break_while_held(0);
    break_while_held(1);
    break_while_held(4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_of_nothing),
        cmocka_unit_test(test_end_waits_for_the_last_byte),
        cmocka_unit_test(test_end_behind_a_short_read),
        cmocka_unit_test(test_end_of_an_early_client),
        cmocka_unit_test(test_end_behind_an_urgent_byte),
        cmocka_unit_test(test_end_behind_a_descriptor),
        cmocka_unit_test(test_end_behind_a_short_send),
        cmocka_unit_test(test_reset_behind_the_end),
        cmocka_unit_test(test_reset_comes_after_the_data),
        cmocka_unit_test(test_reset_found_by_read),
        cmocka_unit_test(test_broken_sink_found_by_send),
        cmocka_unit_test(test_broken_sink_told_by_epoll),
        cmocka_unit_test(test_broken_sink_drops_what_is_held),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
