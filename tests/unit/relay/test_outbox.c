#include "lb4/relay/outbox.h"

#include <netinet/tcp.h>
#include <string.h>

#include "../base/uring_wrap.h"
#include "lb4/relay/flow.h"

#include "sockets.h"

enum { N_LINES = OUTBOX_MAX, MANY = OUTBOX_LEAST_EVENTS, LINE_BYTES = 64 };

static struct outbox outbox;
static uint8_t buffer[FLOW_BUFFER_BYTES];
static struct flow flow; /* the outbox only carries it */

/* lb4's side of a connection, and the far end. */
static struct line {
    struct flow_side to;
    int far_fd;
} lines[N_LINES];

static size_t n_lines;
static size_t n_fds;

static void line_open(struct line *line, struct pair pair)
{
    *line = (struct line){.far_fd = pair.far};
    source_init(&line->to.source, SOURCE_SERVER, pair.near);
}

/* Where io_uring is forbidden there is nothing to test. */
static void open_all(size_t n)
{
    int error;

    uring_wrap = (struct uring_wrap){0};
    n_fds = sockets_count_fds();
    error = outbox_init(&outbox);
    if (uring_wrap_is_forbidden(error))
        skip();
    assert_int_equal(error, 0);
    for (n_lines = 0; n_lines < n; n_lines++)
        line_open(&lines[n_lines], sockets_pair(0));
    for (size_t i = 0; i < sizeof(buffer); i++)
        buffer[i] = sockets_byte(i);
    uring_wrap = (struct uring_wrap){0};
    outbox_begin(&outbox, MANY);
}

static void close_all(void)
{
    for (size_t i = 0; i < n_lines; i++) {
        if (!lines[i].to.source.is_closed)
            close(lines[i].to.source.fd);
        if (lines[i].far_fd >= 0)
            close(lines[i].far_fd);
    }
    outbox_fini(&outbox);
    outbox_fini(&outbox);
    assert_int_equal(sockets_count_fds(), n_fds);
}

/* The next n bytes of the buffer; returns where they lie in it. */
static uint32_t post_to(struct line *line, uint32_t n)
{
    uint32_t at = outbox.n_bytes;
    const struct post post = {.flow = &flow, .to = &line->to, .bytes = buffer + at, .n = n};

    assert_true(outbox_has_room(&outbox));
    outbox_post(&outbox, &post);
    return at;
}

/* Just these. */
static void expect_bytes(const struct line *line, uint32_t at, size_t n)
{
    size_t n_read = 0;

    while (n_read < n) {
        ssize_t got;

        sockets_wait(line->far_fd, POLLIN);
        got = sockets_read(line->far_fd, at + n_read, n - n_read);
        assert_true(got > 0);
        n_read += (size_t)got;
    }
    assert_int_equal(sockets_read(line->far_fd, 0, 1), -EAGAIN);
}

static void reset_line(struct line *line)
{
    sock_reset(line->far_fd);
    line->far_fd = -1;
    sockets_wait(line->to.source.fd, POLLERR);
}

/* --- when it opens ------------------------------------------------------------------------------
 */

static void test_without_a_ring(void **state)
{
    (void)state;
    memset(&outbox, 0xa5, sizeof(outbox));
    outbox_clear(&outbox);
    outbox_begin(&outbox, 1000);
    assert_false(outbox_has_room(&outbox));
    assert_int_equal(outbox.n, 0);
    outbox_fini(&outbox);
    outbox_fini(&outbox);
}

static void test_ring_is_refused(void **state)
{
    (void)state;
    memset(&outbox, 0xa5, sizeof(outbox));
    n_fds = sockets_count_fds();
    uring_wrap = (struct uring_wrap){.setup_error = EPERM};
    assert_int_equal(outbox_init(&outbox), -EPERM);
    outbox_begin(&outbox, 1000);
    assert_false(outbox_has_room(&outbox));
    outbox_fini(&outbox);
    assert_int_equal(sockets_count_fds(), n_fds);
}

static void test_opens_for_many_events(void **state)
{
    (void)state;
    open_all(0);
    assert_true(outbox_has_room(&outbox));
    for (size_t n = 0; n < MANY; n++) {
        outbox_begin(&outbox, n);
        assert_false(outbox_has_room(&outbox));
    }
    outbox_begin(&outbox, MANY);
    assert_true(outbox_has_room(&outbox));
    outbox_begin(&outbox, MANY - 1);
    assert_false(outbox_has_room(&outbox));
    close_all();
}

/* --- posts ------------------------------------------------------------------------------------ */

static void test_nothing_posted(void **state)
{
    (void)state;
    open_all(0);
    assert_int_equal(outbox_submit(&outbox), 0);
    assert_int_equal(uring_wrap.n_enters, 0);
    close_all();
}

/* No two lie in one line of a CPU's cache, and all in the first half of the buffer. */
static void test_places_in_the_buffer(void **state)
{
    static const struct {
        uint32_t n;
        uint32_t n_bytes;
    } cases[] = {{1, 64}, {63, 64}, {64, 64}, {65, 128}, {2047, 2048}, {OUTBOX_POST_BYTES, 2048}};

    (void)state;
    open_all(1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        post_to(&lines[0], cases[i].n);
        assert_int_equal(outbox.n, 1);
        assert_int_equal(outbox.n_bytes, cases[i].n_bytes);
        assert_int_equal(outbox_submit(&outbox), 0);
        assert_int_equal(outbox.n, 0);
        assert_int_equal(outbox.n_bytes, 0);
        expect_bytes(&lines[0], 0, cases[i].n);
    }
    close_all();
}

/* As many as there is room for, each as long as may be, three times over. */
static void test_full_outbox(void **state)
{
    uint32_t at[OUTBOX_MAX];

    (void)state;
    open_all(OUTBOX_MAX);
    for (int round = 1; round <= 3; round++) {
        for (size_t i = 0; i < OUTBOX_MAX; i++)
            at[i] = post_to(&lines[i], OUTBOX_POST_BYTES);
        assert_false(outbox_has_room(&outbox));
        assert_true(outbox.n_bytes <= FLOW_BUFFER_BYTES / 2);
        assert_int_equal(outbox_submit(&outbox), 0);
        assert_true(outbox_has_room(&outbox));
        assert_int_equal(uring_wrap.n_enters, round);
        for (size_t i = 0; i < OUTBOX_MAX; i++)
            expect_bytes(&lines[i], at[i], OUTBOX_POST_BYTES);
    }
    close_all();
}

static void test_posts_to_one_socket_stay_in_order(void **state)
{
    (void)state;
    open_all(1);
    for (size_t i = 0; i < OUTBOX_MAX; i++)
        post_to(&lines[0], LINE_BYTES); /* so that they are one stream */
    assert_int_equal(outbox_submit(&outbox), 0);
    expect_bytes(&lines[0], 0, OUTBOX_MAX * LINE_BYTES);
    close_all();
}

/* --- failures --------------------------------------------------------------------------------- */

static void expect_failed(size_t i, const struct line *line, uint32_t n, uint32_t n_unsent,
                          int error)
{
    const struct post *post = &outbox.posts[i];

    assert_ptr_equal(post->to, &line->to);
    assert_ptr_equal(post->flow, &flow);
    assert_int_equal(post->n, n);
    assert_int_equal(post->n_unsent, n_unsent);
    assert_int_equal(post->error, error);
}

static void test_failed_come_first(void **state)
{
    uint32_t at[6];

    (void)state;
    open_all(6);
    reset_line(&lines[1]);
    reset_line(&lines[4]);
    for (uint32_t i = 0; i < 6; i++)
        at[i] = post_to(&lines[i], 100 + i);
    assert_int_equal(outbox_submit(&outbox), 2);
    expect_failed(0, &lines[1], 101, 101, ECONNRESET);
    expect_failed(1, &lines[4], 104, 104, ECONNRESET);
    assert_ptr_equal(outbox.posts[1].bytes, buffer + at[4]);
    for (uint32_t i = 0; i < 6; i++)
        if (lines[i].far_fd >= 0)
            expect_bytes(&lines[i], at[i], 100 + i);
    assert_int_equal(outbox_submit(&outbox), 0); /* all was told */
    post_to(&lines[0], 10);
    assert_int_equal(outbox_submit(&outbox), 0); /* and is forgotten */
    expect_bytes(&lines[0], 0, 10);
    close_all();
}

/* A closed one is left out, and those behind it keep their own failures. */
static void test_closed_is_left_out(void **state)
{
    uint32_t at[5];
    struct pair stranger;
    int fd;

    (void)state;
    open_all(5);
    reset_line(&lines[3]);
    for (uint32_t i = 0; i < 5; i++)
        at[i] = post_to(&lines[i], 200 + i);
    fd = source_take_fd(&lines[1].to.source);
    assert_true(lines[1].to.source.is_closed);
    stranger = sockets_pair(0);
    assert_int_equal(dup2(stranger.near, fd), fd); /* the number is another's now */
    assert_int_equal(outbox_submit(&outbox), 1);
    expect_failed(0, &lines[3], 203, 203, ECONNRESET);
    expect_bytes(&lines[0], at[0], 200);
    expect_bytes(&lines[2], at[2], 202);
    expect_bytes(&lines[4], at[4], 204);
    assert_int_equal(sockets_read(stranger.far, 0, 1), -EAGAIN);
    assert_int_equal(sockets_read(lines[1].far_fd, 0, 1), 0);
    close(fd);
    close(stranger.near);
    close(stranger.far);
    close_all();
}

static void test_all_are_closed(void **state)
{
    (void)state;
    open_all(3);
    for (size_t i = 0; i < 3; i++)
        post_to(&lines[i], 10);
    for (size_t i = 0; i < 3; i++)
        close(source_take_fd(&lines[i].to.source));
    assert_int_equal(outbox_submit(&outbox), 0);
    assert_int_equal(outbox.n, 0);
    assert_int_equal(uring_wrap.n_enters, 0);
    close_all();
}

/* A connection whose segments are so small that a full socket may take a part of a post. */
static struct pair small_pair(void)
{
    int least = 1; /* the kernel makes it its least */
    int segment = 88;
    struct addr at;
    struct pair pair;
    int listener = sockets_listen(&at);

    setsockopt(listener, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
    pair.near = sockets_connect(&at);
    pair.far = sockets_accept(listener);
    sockets_wait(pair.near, POLLOUT);
    setsockopt(pair.near, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
    close(listener);
    return pair;
}

/* Read to the end; how many bytes that were. */
static uint64_t count_to_end(const struct line *line)
{
    uint64_t n_bytes = 0;
    uint8_t bytes[65536];
    ssize_t n;

    shutdown(line->to.source.fd, SHUT_WR);
    do {
        sockets_wait(line->far_fd, POLLIN);
        n = recv(line->far_fd, bytes, sizeof(bytes), 0);
        n_bytes += n > 0 ? (uint64_t)n : 0;
    } while (n > 0);
    return n_bytes;
}

/* Until a post to a new connection is not taken whole; returns how many bytes it took of that. */
static uint32_t fill_with(uint32_t n)
{
    struct patience patience = patience_new();
    uint64_t n_taken = 0;
    size_t n_failed = 0;
    uint32_t n_sent;

    line_open(&lines[0], small_pair());
    while (!n_failed && patience_holds(&patience)) {
        post_to(&lines[0], n);
        n_failed = outbox_submit(&outbox);
        n_taken += n;
    }
    n_taken -= outbox.posts[0].n_unsent;
    n_sent = n - outbox.posts[0].n_unsent;
    expect_failed(0, &lines[0], n, n - n_sent, n_sent ? 0 : EAGAIN);
    assert_int_equal(count_to_end(&lines[0]), n_taken);
    close(lines[0].to.source.fd);
    close(lines[0].far_fd);
    return n_sent;
}

/* What a socket took of a post that it did not take whole is told to the byte. */
static void test_part_of_a_post(void **state)
{
    size_t n_parts = 0;

    (void)state;
    open_all(0);
    for (uint32_t n = OUTBOX_POST_BYTES; n > OUTBOX_POST_BYTES - 100; n -= 7)
        n_parts += fill_with(n) > 0;
    assert_true(n_parts > 0);
    close_all();
}

/* Those that were not submitted ask for send(2): they have no error of their own. */
static void test_kernel_takes_some(void **state)
{
    (void)state;
    open_all(6);
    reset_line(&lines[1]);
    for (uint32_t most = 0; most < 6; most++) {
        size_t n_failed = 0;
        uint32_t at[6];

        uring_wrap =
            (struct uring_wrap){.enter_error = ENOMEM, .enter_after = most > 0, .enter_most = most};
        for (uint32_t i = 0; i < 6; i++)
            at[i] = post_to(&lines[i], 100 + i);
        n_failed = outbox_submit(&outbox);
        assert_int_equal(n_failed, 6 - most + (most > 1));
        for (uint32_t i = 0, k = 0; i < 6; i++) {
            bool is_taken = i < most;

            if (!is_taken)
                expect_failed(k++, &lines[i], 100 + i, 100 + i, 0);
            else if (i == 1)
                expect_failed(k++, &lines[i], 101, 101, most == 2 ? ECONNRESET : EPIPE);
            if (i != 1)
                expect_bytes(&lines[i], at[i], is_taken ? 100 + i : 0);
        }
    }
    close_all();
}

/* Half of a turn's posts were taken when it was refused: what became of those is still told. */
static void lose_ring(struct uring_wrap refusal, int loss)
{
    uint32_t at[6];

    open_all(6);
    reset_line(&lines[1]);
    for (uint32_t i = 0; i < 6; i++)
        at[i] = post_to(&lines[i], 100 + i);
    uring_wrap = refusal;
    uring_wrap.enter_after = 1;
    uring_wrap.enter_most = 3;
    assert_int_equal(outbox_submit(&outbox), 4);
    expect_failed(0, &lines[1], 101, 101, ECONNRESET);
    for (uint32_t i = 3; i < 6; i++)
        expect_failed(i - 2, &lines[i], 100 + i, 100 + i, 0);
    assert_int_equal(outbox.loss, loss);
    assert_false(outbox_has_room(&outbox)); /* nor in the rest of the turn */
    assert_int_equal(sockets_count_fds(), n_fds + 2 * 6 - 1);
    outbox_begin(&outbox, 1000);
    assert_false(outbox_has_room(&outbox));
    assert_int_equal(uring_wrap.n_enters, 2);
    for (uint32_t i = 0; i < 6; i++)
        if (i != 1)
            expect_bytes(&lines[i], at[i], i < 3 ? 100 + i : 0);
    close_all();
}

static void test_refused_for_good(void **state)
{
    static const int errors[] = {EPERM, EACCES, ENOSYS, EOPNOTSUPP, EBADFD, EINVAL};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        lose_ring((struct uring_wrap){.enter_error = errors[i]}, -errors[i]);
    lose_ring((struct uring_wrap){.enter_takes_none = true}, -EIO);
}

/* However long it lasts. */
static void test_refused_for_want(void **state)
{
    static const int errors[] = {ENOMEM, EAGAIN, EBUSY};

    (void)state;
    open_all(1);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        uring_wrap = (struct uring_wrap){.enter_error = errors[i]};
        for (int turn = 0; turn < 1000; turn++) {
            outbox_begin(&outbox, MANY);
            post_to(&lines[0], 100);
            assert_int_equal(outbox_submit(&outbox), 1);
            expect_failed(0, &lines[0], 100, 100, 0);
        }
        assert_int_equal(outbox.loss, 0);
        uring_wrap = (struct uring_wrap){0};
        post_to(&lines[0], 100);
        assert_int_equal(outbox_submit(&outbox), 0);
        expect_bytes(&lines[0], 0, 100);
    }
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_ring),
        cmocka_unit_test(test_ring_is_refused),
        cmocka_unit_test(test_opens_for_many_events),
        cmocka_unit_test(test_nothing_posted),
        cmocka_unit_test(test_places_in_the_buffer),
        cmocka_unit_test(test_full_outbox),
        cmocka_unit_test(test_posts_to_one_socket_stay_in_order),
        cmocka_unit_test(test_failed_come_first),
        cmocka_unit_test(test_closed_is_left_out),
        cmocka_unit_test(test_all_are_closed),
        cmocka_unit_test(test_part_of_a_post),
        cmocka_unit_test(test_kernel_takes_some),
        cmocka_unit_test(test_refused_for_good),
        cmocka_unit_test(test_refused_for_want),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
