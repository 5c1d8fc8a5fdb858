#include "lb4/relay/flow_size.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include "lb4/base/sock_options.h"

#include "sockets.h"

enum { MOST = FLOW_BUFFER_BYTES, BUFFER = 200000, N_PIPES = 4 };

static struct flow flow;
static struct flow_side to;
static int far_fd;

/* A send buffer of a size that does not grow. */
static void open_to(int buffer_bytes)
{
    struct pair pair = sockets_pair(0);

    flow_init(&flow);
    to = (struct flow_side){0};
    source_init(&to.source, SOURCE_CLIENT, pair.near);
    far_fd = pair.far;
    setsockopt(pair.near, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
}

static void close_to(void)
{
    close(to.source.fd);
    close(far_fd);
}

static void fill(void)
{
    struct patience patience = patience_new();

    while (sockets_send(to.source.fd, 0, 1000000) > 0 && patience_holds(&patience))
        ;
}

static void test_few_bytes_unless_bulk(void **state)
{
    (void)state;
    open_to(BUFFER);
    assert_int_equal(flow_copy_size(&flow, &to, MOST), FLOW_READ_BYTES);
    flow.is_reined = true;
    assert_int_equal(flow_copy_size(&flow, &to, MOST), FLOW_READ_BYTES);
    close_to();
}

static void test_bulk_is_as_large_as_the_room(void **state)
{
    size_t room;

    (void)state;
    open_to(BUFFER);
    flow.is_bulk = true;
    room = sock_send_room(to.source.fd);
    assert_true(room > FLOW_READ_BYTES);
    assert_int_equal(flow_copy_size(&flow, &to, SIZE_MAX), room);
    assert_int_equal(flow_copy_size(&flow, &to, room + 1), room);
    assert_int_equal(flow_copy_size(&flow, &to, room - 1), room - 1);
    assert_int_equal(flow_copy_size(&flow, &to, FLOW_READ_BYTES + 1), FLOW_READ_BYTES + 1);
    close_to();
}

static void test_bulk_without_room(void **state)
{
    (void)state;
    open_to(1);
    flow.is_bulk = true;
    assert_int_equal(flow_copy_size(&flow, &to, MOST), FLOW_READ_BYTES);
    close_to();
    open_to(BUFFER);
    flow.is_bulk = true;
    fill();
    assert_int_equal(flow_copy_size(&flow, &to, MOST), FLOW_READ_BYTES);
    close_to();
}

static int unsent_limit(void)
{
    int limit = -1;
    socklen_t length = sizeof(limit);

    assert_int_equal(getsockopt(to.source.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, &length), 0);
    return limit;
}

static void test_reined_in_once(void **state)
{
    (void)state;
    open_to(BUFFER);
    assert_int_not_equal(unsent_limit(), FLOW_UNSENT_BYTES);
    flow_rein_in(&flow, &to);
    assert_true(flow.is_reined);
    assert_int_equal(unsent_limit(), FLOW_UNSENT_BYTES);
    sock_limit_unsent(to.source.fd, 12345);
    flow_rein_in(&flow, &to);
    assert_int_equal(unsent_limit(), 12345);
    close_to();
}

static void test_eased_once(void **state)
{
    (void)state;
    open_to(1 << 20);
    flow.is_bulk = true;
    flow_ease(&flow, &to);
    assert_false(flow.is_eased); /* one that copies is not reined in */
    assert_int_equal(unsent_limit(), 0);
    flow_rein_in(&flow, &to);
    flow_ease(&flow, &to);
    assert_true(flow.is_eased);
    assert_int_equal(unsent_limit(), FLOW_UNSENT_EASED_BYTES);
    assert_int_equal(flow_copy_size(&flow, &to, SIZE_MAX), FLOW_UNSENT_EASED_BYTES);
    sock_limit_unsent(to.source.fd, 12345);
    flow_ease(&flow, &to);
    flow_rein_in(&flow, &to);
    assert_int_equal(unsent_limit(), 12345);
    close_to();
}

/* How much of it waits counts, and the room that is left. */
static void test_eased_bulk(void **state)
{
    size_t unsent = 0;
    size_t room;

    (void)state;
    open_to(4 << 20);
    flow.is_bulk = flow.is_reined = flow.is_eased = true;
    while (unsent <= FLOW_UNSENT_BYTES + FLOW_READ_BYTES) {
        assert_true(sockets_send(to.source.fd, 0, 10000) > 0);
        unsent = sock_unsent(to.source.fd);
    }
    room = sock_send_room(to.source.fd);
    assert_true(room > FLOW_READ_BYTES);
    assert_int_equal(flow_copy_size(&flow, &to, SIZE_MAX), room < FLOW_UNSENT_EASED_BYTES - unsent
                                                               ? room
                                                               : FLOW_UNSENT_EASED_BYTES - unsent);
    close_to();
}

/* What waits beyond what is under way counts against a reined flow. */
static void test_reined_bulk(void **state)
{
    size_t unsent;
    size_t room;

    (void)state;
    open_to(BUFFER);
    flow.is_bulk = true;
    flow_rein_in(&flow, &to);
    assert_int_equal(flow_copy_size(&flow, &to, SIZE_MAX), FLOW_UNSENT_BYTES);
    assert_int_equal(flow_copy_size(&flow, &to, 50000), 50000);
    fill();
    assert_int_equal(flow_copy_size(&flow, &to, SIZE_MAX), FLOW_READ_BYTES);
    close_to();
    open_to(1 << 20);
    flow.is_bulk = flow.is_reined = true;
    while ((unsent = sock_unsent(to.source.fd)) < 20000)
        assert_true(sockets_send(to.source.fd, 0, 10000) > 0);
    room = sock_send_room(to.source.fd);
    assert_true(unsent < FLOW_UNSENT_BYTES && room > FLOW_READ_BYTES);
    assert_int_equal(flow_copy_size(&flow, &to, SIZE_MAX),
                     room < FLOW_UNSENT_BYTES - unsent ? room : FLOW_UNSENT_BYTES - unsent);
    close_to();
}

/* A splice fills a pipe while there are enough; then it is no larger than a copy. */
static void test_splice(void **state)
{
    struct flow_context context = {0};
    struct pipe *others[N_PIPES];
    uint32_t n_others = 0;

    (void)state;
    pipe_pool_init(&context.pipes, N_PIPES, 1);
    open_to(BUFFER);
    flow.pipe = pipe_borrow(&context.pipes);
    assert_non_null(flow.pipe);
    assert_int_equal(flow_splice_size(&flow, &to, &context), flow.pipe->cap_bytes);
    while (!pipe_pool_is_scarce(&context.pipes) && (others[n_others] = pipe_borrow(&context.pipes)))
        n_others++;
    assert_int_equal(flow_splice_size(&flow, &to, &context), FLOW_READ_BYTES);
    flow.is_bulk = true;
    assert_int_equal(flow_splice_size(&flow, &to, &context),
                     flow_copy_size(&flow, &to, flow.pipe->cap_bytes));
    while (n_others)
        pipe_return(&context.pipes, others[--n_others]);
    pipe_return(&context.pipes, flow.pipe);
    pipe_pool_fini(&context.pipes);
    close_to();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_bytes_unless_bulk),
        cmocka_unit_test(test_bulk_is_as_large_as_the_room),
        cmocka_unit_test(test_bulk_without_room),
        cmocka_unit_test(test_reined_in_once),
        cmocka_unit_test(test_eased_once),
        cmocka_unit_test(test_eased_bulk),
        cmocka_unit_test(test_reined_bulk),
        cmocka_unit_test(test_splice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
