/* relay/flow where small sends are posted: which are, and what becomes of those that were not sent
 * whole. */
#include "lb4/relay/flow.h"

#include <signal.h>

#include "../base/uring_wrap.h"
#include "flow_line.h"

static struct desk desk;
static struct line line;

static size_t largest_read;

ssize_t __real_recv(int fd, void *bytes, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t n, int flags);

/* No read may go beyond the thread's buffer. */
ssize_t __wrap_recv(int fd, void *bytes, size_t n, int flags)
{
    const uint8_t *begin = bytes;
    const uint8_t *buffer = desk.context.buffer;

    if (begin >= buffer && begin < buffer + FLOW_BUFFER_BYTES) {
        assert_true(n <= (size_t)(buffer + FLOW_BUFFER_BYTES - begin));
        largest_read = n > largest_read ? n : largest_read;
    }
    return __real_recv(fd, bytes, n, flags);
}

static void get_ring(void)
{
    int error = outbox_init(&desk.context.outbox);

    if (uring_wrap_is_forbidden(error))
        skip();
    assert_int_equal(error, 0);
}

/* A line over which a byte has gone, with an outbox that is open. Skipped where io_uring is
 * forbidden. */
static void open_line(int buffer_bytes)
{
    uring_wrap = (struct uring_wrap){0};
    desk_open(&desk, 0);
    get_ring();
    line_open(&line, &desk, buffer_bytes);
    line_write(&line, 1);
    line_pump_through(&line, 1);
    uring_wrap = (struct uring_wrap){0};
    outbox_begin(&desk.context.outbox, OUTBOX_LEAST_EVENTS);
}

static void close_line(void)
{
    line_close(&line);
    desk_close(&desk);
}

static enum flow_result write_and_pump(size_t n)
{
    line_write(&line, n);
    line_wait_queued(&line.from, n);
    return line_pump(&line);
}

/* As relaying_deliver(); returns whether the post came back. */
static bool deliver(void)
{
    bool is_back;

    assert_int_equal(desk.context.outbox.n, 1);
    is_back = outbox_submit(&desk.context.outbox) == 1;
    line.flow.is_posted = false;
    if (is_back)
        flow_settle(&desk.context.outbox.posts[0], &desk.context);
    return is_back;
}

static uint64_t n_dropped(void)
{
    return stats_read(&desk.stats.worker.dropped_bytes);
}

static void expect_received(uint64_t n)
{
    assert_int_equal(line.flow.n_received, n);
    assert_int_equal(line.flow.n_sent + line.flow.n_held + n_dropped(), n);
}

static void wait_read(uint64_t n)
{
    struct patience patience = patience_new();

    while (line.n_read < n && patience_holds(&patience))
        line_read(&line, 65536);
}

/* --- what is posted --------------------------------------------------------------------------- */

static void expect_posted(void)
{
    uint64_t n_written = line.n_written;

    assert_true(line.flow.is_posted);
    assert_int_equal(line.flow.n_sent, n_written); /* they count as sent */
    assert_int_equal(sockets_read(line.reader_fd, 0, 1), -EAGAIN);
    assert_false(deliver());
    wait_read(n_written);
    expect_received(n_written);
}

static void expect_sent(void)
{
    assert_false(line.flow.is_posted);
    assert_int_equal(desk.context.outbox.n, 0);
    wait_read(line.n_written);
}

static void test_small_reads_are_posted(void **state)
{
    static const size_t sizes[] = {1, 64, 1000, OUTBOX_POST_BYTES - 1, OUTBOX_POST_BYTES};

    (void)state;
    open_line(0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(write_and_pump(sizes[i]), FLOW_IDLE);
        expect_posted();
    }
    assert_int_equal(stats_read(&desk.stats.worker.relayed_copy), line.n_written);
    close_line();
}

static void test_larger_reads_are_sent(void **state)
{
    (void)state;
    open_line(0);
    write_and_pump(OUTBOX_POST_BYTES + 1);
    expect_sent();
    write_and_pump(FLOW_READ_BYTES - 1);
    expect_sent();
    close_line();
}

/* More may be behind a read that came back full: then it is not posted, however small. */
static void test_reads_with_more_behind_are_sent(void **state)
{
    (void)state;
    open_line(0);
    line.from.has_urgent = true; /* reads may stop short */
    write_and_pump(100);
    expect_sent();
    close_line();
}

static void test_first_bytes_are_sent(void **state)
{
    (void)state;
    desk_open(&desk, 0);
    get_ring();
    line_open(&line, &desk, 0);
    outbox_begin(&desk.context.outbox, 100);
    assert_int_equal(write_and_pump(100), FLOW_IDLE);
    expect_sent();
    assert_int_equal(write_and_pump(100), FLOW_IDLE);
    expect_posted();
    close_line();
}

static void test_last_bytes_are_sent_with_the_end(void **state)
{
    (void)state;
    open_line(0);
    line_write(&line, 100);
    shutdown(line.writer_fd, SHUT_WR);
    sockets_wait(line.from.source.fd, POLLRDHUP);
    assert_int_equal(line_pump(&line), FLOW_ENDED);
    expect_sent();
    close_line();
}

/* Of a Unix socket the end is read by itself; its last bytes are not posted either. */
static void test_hangup_that_was_seen(void **state)
{
    (void)state;
    open_line(0);
    line.from.is_tcp = false;
    line.from.has_hangup = true;
    line.from.has_urgent = false;
    write_and_pump(100);
    expect_sent();
    close_line();
}

static void test_early_reader_is_sent_to(void **state)
{
    (void)state;
    open_line(0);
    line.to.is_early = true;
    write_and_pump(100);
    expect_sent();
    line.to.is_early = false;
    line.from.is_early = true; /* of no matter */
    write_and_pump(100);
    expect_posted();
    close_line();
}

static void test_failed_writer(void **state)
{
    (void)state;
    open_line(0);
    line.from.error = ECONNRESET;
    write_and_pump(100);
    expect_sent();
    close_line();
}

static void test_shut_outbox(void **state)
{
    (void)state;
    open_line(0);
    desk.context.outbox.is_open = false;
    write_and_pump(100);
    expect_sent();
    close_line();
}

/* --- reads behind posts in the buffer -----------------------------------------------------------
 */

/* Another line reads a lot while posts lie in the buffer: they are not overwritten. */
static void test_posts_outlive_other_reads(void **state)
{
    static struct line other;

    (void)state;
    open_line(0);
    line_open(&other, &desk, 0);
    other.base = 1000000;
    write_and_pump(1999);
    assert_true(line.flow.is_posted);
    largest_read = 0;
    for (int i = 0; i < 30; i++) {
        line_write(&other, 50000);
        line_pump(&other);
        line_read(&other, 65536);
    }
    assert_true(other.flow.n_received > FLOW_BUFFER_BYTES);
    assert_int_equal(largest_read, FLOW_BUFFER_BYTES - 2048);
    expect_posted();
    line_pump_through(&other, other.n_written);
    line_close(&other);
    close_line();
}

/* --- posts that come back -----------------------------------------------------------------------
 */

static void test_not_taken_at_all(void **state)
{
    (void)state;
    open_line(0);
    uring_wrap.enter_error = ENOMEM;
    assert_int_equal(write_and_pump(100), FLOW_IDLE);
    assert_true(deliver());
    wait_read(101);
    expect_received(101);
    assert_int_equal(line.flow.n_held, 0);
    assert_int_equal(line.to.error, 0);
    close_line();
}

static void fill_by_posts(size_t n)
{
    struct patience patience = patience_new();

    while (line.flow.n_held == 0 && patience_holds(&patience)) {
        assert_int_equal(write_and_pump(n), FLOW_IDLE);
        assert_true(line.flow.is_posted);
        deliver();
        expect_received(line.n_written);
    }
}

/* The reader has stopped: the rest is kept, nothing more is read, and all comes in order. */
static void test_full_reader(void **state)
{
    static const size_t sizes[] = {700, 1999, OUTBOX_POST_BYTES};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        open_line(STALL_BUFFER);
        fill_by_posts(sizes[i]);
        assert_false(line.to.is_writable);
        assert_int_equal(line.to.error, 0);
        assert_true(line.flow.n_held <= sizes[i]);
        line_write(&line, 3000);
        assert_int_equal(line_pump(&line), FLOW_BLOCKED);
        assert_int_equal(line.flow.n_received, line.n_written - 3000);
        assert_int_equal(desk.context.outbox.n, 0);
        desk.context.outbox.is_open = false;
        line_finish(&line);
        assert_int_equal(n_dropped(), 0);
        close_line();
    }
}

/* Rests that are dropped at the end count. */
static void test_full_reader_is_left(void **state)
{
    uint32_t n_held;

    (void)state;
    open_line(STALL_BUFFER);
    fill_by_posts(1500);
    n_held = line.flow.n_held;
    flow_fini(&line.flow, &desk.context);
    assert_int_equal(n_dropped(), n_held);
    close_line();
}

static void expect_broken(int error)
{
    assert_int_equal(line.to.error, error);
    assert_true(line.to.has_hangup);
    assert_true(line.to.is_readable); /* its last words */
    assert_int_equal(line.flow.n_held, 0);
    assert_int_equal(line.flow.n_sent, 1);
    assert_int_equal(n_dropped(), 100);
    expect_received(101);
    line_write(&line, 10);
    line_wait_queued(&line.from, 10);
    assert_int_equal(line_pump(&line), FLOW_BROKEN);
    assert_int_equal(n_dropped(), 100);
    assert_int_equal(line.flow.n_received, 101);
}

static void reset_reader(void)
{
    sock_reset(line.reader_fd);
    line.reader_fd = -1;
    sockets_wait(line.to.source.fd, POLLERR);
}

static void test_reset_reader(void **state)
{
    (void)state;
    open_line(0);
    assert_int_equal(write_and_pump(100), FLOW_IDLE);
    reset_reader();
    assert_true(deliver());
    expect_broken(ECONNRESET);
    close_line();
}

/* It was not the ring that found out, but send(2), of a post that the kernel had not taken. */
static void test_reset_reader_of_a_post_not_taken(void **state)
{
    (void)state;
    open_line(0);
    assert_int_equal(write_and_pump(100), FLOW_IDLE);
    reset_reader();
    uring_wrap.enter_error = EPERM;
    assert_true(deliver());
    expect_broken(ECONNRESET);
    close_line();
}

/* Part was sent before the reader reset: only the rest is dropped. */
static void test_part_then_reset(void **state)
{
    struct post post;

    (void)state;
    open_line(0);
    assert_int_equal(write_and_pump(100), FLOW_IDLE);
    post = desk.context.outbox.posts[0];
    assert_false(deliver());
    post.n_unsent = 40;
    post.error = EPIPE;
    flow_settle(&post, &desk.context);
    assert_int_equal(line.flow.n_sent, 61);
    assert_int_equal(n_dropped(), 40);
    assert_int_equal(line.to.error, EPIPE);
    close_line();
}

/* What the other flow was told of the reader is told once: the post finds only a dead socket. */
static void test_first_cause_stays(void **state)
{
    (void)state;
    open_line(0);
    assert_int_equal(write_and_pump(100), FLOW_IDLE);
    reset_reader();
    assert_int_equal(sock_take_error(line.to.source.fd), ECONNRESET);
    line.to.error = ETIMEDOUT;
    assert_true(deliver());
    expect_broken(ETIMEDOUT);
    close_line();
}

/* The last bytes of a post, not its first, are what was not sent. Nor is the socket the cause where
 * the ring had no memory. */
static void test_rest_is_the_last_bytes(void **state)
{
    static const int errors[] = {0, EAGAIN, ENOMEM};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct post post;

        open_line(0);
        assert_int_equal(write_and_pump(100), FLOW_IDLE);
        post = desk.context.outbox.posts[0];
        assert_int_equal(send(line.to.source.fd, post.bytes, 30, 0), 30);
        desk.context.outbox.n = 0;
        desk.context.outbox.n_bytes = 0;
        line.flow.is_posted = false;
        post.n_unsent = 70;
        post.error = errors[i];
        flow_settle(&post, &desk.context);
        wait_read(101); /* each byte is compared */
        expect_received(101);
        close_line();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_reads_are_posted),
        cmocka_unit_test(test_larger_reads_are_sent),
        cmocka_unit_test(test_reads_with_more_behind_are_sent),
        cmocka_unit_test(test_first_bytes_are_sent),
        cmocka_unit_test(test_last_bytes_are_sent_with_the_end),
        cmocka_unit_test(test_hangup_that_was_seen),
        cmocka_unit_test(test_early_reader_is_sent_to),
        cmocka_unit_test(test_failed_writer),
        cmocka_unit_test(test_shut_outbox),
        cmocka_unit_test(test_posts_outlive_other_reads),
        cmocka_unit_test(test_not_taken_at_all),
        cmocka_unit_test(test_full_reader),
        cmocka_unit_test(test_full_reader_is_left),
        cmocka_unit_test(test_reset_reader),
        cmocka_unit_test(test_reset_reader_of_a_post_not_taken),
        cmocka_unit_test(test_part_then_reset),
        cmocka_unit_test(test_first_cause_stays),
        cmocka_unit_test(test_rest_is_the_last_bytes),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
