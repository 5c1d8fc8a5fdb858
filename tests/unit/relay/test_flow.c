#include "lb4/relay/flow.h"

#include <netinet/tcp.h>
#include <signal.h>

#include "../seed.h"
#include "flow_line.h"

static struct desk desk;
static struct line line;

/* --- sides ---------------------------------------------------------------------------------- */

static void test_side_bits(void **state)
{
    static const struct {
        uint32_t bits;
        bool is_readable;
        bool is_writable;
        bool has_hangup;
        bool has_urgent;
    } cases[] = {
        {0, false, false, false, false},
        {EPOLLIN, true, false, false, false},
        {EPOLLOUT, false, true, false, false},
        {EPOLLRDHUP, true, false, true, false},
        {EPOLLPRI, true, false, false, true},
        {EPOLLHUP, true, true, true, false},
        {EPOLLERR, true, true, true, false},
        {EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP, true, true, true, true},
    };
    struct pair pair = sockets_pair(0);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct flow_side side = {0};

        source_init(&side.source, SOURCE_CLIENT, pair.near);
        flow_side_note(&side, cases[i].bits);
        flow_side_note(&side, 0);
        assert_int_equal(side.is_readable, cases[i].is_readable);
        assert_int_equal(side.is_writable, cases[i].is_writable);
        assert_int_equal(side.has_hangup, cases[i].has_hangup);
        assert_int_equal(side.has_urgent, cases[i].has_urgent);
        assert_int_equal(side.error, 0);
    }
    close(pair.near);
    close(pair.far);
}

static void test_side_latches_error(void **state)
{
    struct pair pair = sockets_pair(0);
    struct flow_side side = {0};

    (void)state;
    source_init(&side.source, SOURCE_CLIENT, pair.near);
    sock_reset(pair.far);
    sockets_wait(pair.near, POLLIN);
    flow_side_note(&side, EPOLLERR);
    assert_int_equal(side.error, ECONNRESET);
    flow_side_note(&side, EPOLLERR);
    assert_int_equal(side.error, ECONNRESET);
    close(pair.near);
}

/* --- bytes ---------------------------------------------------------------------------------- */

/* Random portions in, random portions out, with stalls of the reader. */
static void transfer(struct seed *seed, uint64_t total, size_t portion)
{
    struct patience patience = patience_new();
    enum flow_result result = FLOW_IDLE;

    while (result != FLOW_ENDED && patience_holds(&patience)) {
        uint64_t left = total - line.n_written;

        line_write(&line, left < portion ? left : 1 + seed_next(seed, portion));
        if (line.n_written == total)
            shutdown(line.writer_fd, SHUT_WR);
        result = line_pump(&line);
        assert_int_not_equal(result, FLOW_BROKEN);
        if (seed_next(seed, 4))
            line_read(&line, 1 + seed_next(seed, 65536));
    }
    assert_int_equal(line.flow.n_received, total);
    assert_int_equal(line.flow.n_sent, total);
    while (line.n_read < total && patience_holds(&patience))
        line_read(&line, 65536);
}

static void test_every_byte_in_order(void **state)
{
    static const struct {
        uint64_t total;
        size_t portion;
        uint32_t max_pipes;
        int buffer_bytes;
    } cases[] = {
        {0, 1, 0, 0},
        {1, 1, 1, 0},
        {200000, 100, 0, 0},
        {200000, 100, 4, STALL_BUFFER},
        {3000000, 1448, 0, STALL_BUFFER},
        {3000000, 1448, 1, STALL_BUFFER},
        {20000000, 200000, 0, 0},
        {20000000, 200000, 1, 0},
        {20000000, 200000, 4, 0},
        {5000000, 100000, 0, STALL_BUFFER},
        {5000000, 100000, 1, STALL_BUFFER},
        {5000000, 100000, 4, STALL_BUFFER},
    };
    struct seed seed = seed_new();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t spliced;

        desk_open(&desk, cases[i].max_pipes);
        line_open(&line, &desk, cases[i].buffer_bytes);
        transfer(&seed, cases[i].total, cases[i].portion);
        spliced = stats_read(&desk.stats.worker.relayed_splice);
        assert_int_equal(stats_read(&desk.stats.worker.relayed_copy) + spliced, cases[i].total);
        assert_int_equal(spliced > 0, cases[i].max_pipes > 0 && cases[i].portion > 20000);
        assert_int_equal(stats_read(&desk.stats.worker.dropped_bytes), 0);
        line_close(&line);
        desk_close(&desk);
    }
}

static struct pair unix_pair(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    return (struct pair){fds[0], fds[1]};
}

static void test_unix_sockets(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (uint32_t max_pipes = 0; max_pipes < 2; max_pipes++) {
        desk_open(&desk, max_pipes);
        line_open_on(&line, &desk, unix_pair(), unix_pair());
        transfer(&seed, 5000000, 100000);
        assert_int_equal(stats_read(&desk.stats.worker.splice_refused), 0);
        line_close(&line);
        desk_close(&desk);
    }
}

/* A full reader is owed one small read at most, whatever waits to be read. */
static void test_short_send_keeps_the_rest(void **state)
{
    uint64_t n_received;

    (void)state;
    desk_open(&desk, 0);
    line_open(&line, &desk, STALL_BUFFER);
    line_write(&line, 1000000);
    line_pump_until(&line, FLOW_BLOCKED);
    assert_non_null(line.flow.rest);
    assert_in_range(line.flow.n_held, 1, FLOW_READ_BYTES);
    assert_int_equal(line.flow.n_received, line.flow.n_sent + line.flow.n_held);
    n_received = line.flow.n_received;
    for (int i = 0; i < 5; i++)
        assert_int_equal(line_pump(&line), FLOW_BLOCKED);
    assert_int_equal(line.flow.n_received, n_received);
    line_finish(&line);
    assert_null(line.flow.rest);
    line_close(&line);
    desk_close(&desk);
}

static void send_and_pump(size_t n)
{
    line_write(&line, n);
    line_wait_queued(&line.from, n);
    line_pump_through(&line, line.n_written);
}

static void test_bulk_splices_small_copies(void **state)
{
    const stats_counter *spliced = &desk.stats.worker.relayed_splice;
    const stats_counter *copied = &desk.stats.worker.relayed_copy;
    uint64_t before;

    (void)state;
    desk_open(&desk, 1);
    line_open(&line, &desk, 0);
    send_and_pump(100);
    assert_false(line.flow.is_bulk);
    send_and_pump(FLOW_BULK_BYTES - 1);
    assert_false(line.flow.is_bulk);
    send_and_pump(FLOW_BULK_BYTES);
    assert_true(line.flow.is_bulk);
    assert_int_equal(stats_read(spliced), 0);
    send_and_pump(FLOW_BULK_BYTES);
    assert_int_equal(stats_read(spliced), FLOW_BULK_BYTES);
    before = stats_read(copied);
    for (int i = 1; i <= FLOW_SMALL_READS; i++) {
        send_and_pump(100);
        assert_int_equal(line.flow.is_bulk, i < FLOW_SMALL_READS);
        assert_int_equal(stats_read(spliced), FLOW_BULK_BYTES + i * 100);
    }
    assert_int_equal(stats_read(copied), before);
    send_and_pump(100);
    assert_int_equal(stats_read(copied), before + 100);
    line_close(&line);
    desk_close(&desk);
}

/* A read that is not small starts the count again. */
static void test_small_reads_must_be_in_a_row(void **state)
{
    (void)state;
    desk_open(&desk, 1);
    line_open(&line, &desk, 0);
    send_and_pump(FLOW_BULK_BYTES);
    for (int i = 0; i < 2; i++) {
        send_and_pump(100);
        send_and_pump(100);
        assert_true(line.flow.is_bulk);
        send_and_pump(FLOW_BULK_BYTES);
        assert_true(line.flow.is_bulk);
    }
    assert_int_equal(stats_read(&desk.stats.worker.relayed_copy), FLOW_BULK_BYTES);
    line_close(&line);
    desk_close(&desk);
}

static int unsent_limit(const struct flow_side *side)
{
    int value = -1;
    socklen_t length = sizeof(value);

    assert_int_equal(getsockopt(side->source.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &length),
                     0);
    return value;
}

/* Of bulk the reader's socket queues a part only; what copies is left as it is. */
static void test_bulk_is_reined_in(void **state)
{
    (void)state;
    desk_open(&desk, 4);
    line_open(&line, &desk, 0);
    send_and_pump(100);
    send_and_pump(FLOW_BULK_BYTES);
    assert_int_equal(unsent_limit(&line.to), 0);
    send_and_pump(FLOW_BULK_BYTES);
    assert_int_equal(unsent_limit(&line.to), FLOW_UNSENT_BYTES);
    assert_int_equal(unsent_limit(&line.from), 0);
    line_close(&line);
    desk_close(&desk);
}

/* One that was reined in, and then finds no pipe: what is read fits, and the flow holds no more
 * than any that is stalled. */
static void test_reined_reader_is_owed_little(void **state)
{
    (void)state;
    desk_open(&desk, 1);
    line_open(&line, &desk, 0);
    send_and_pump(FLOW_BULK_BYTES);
    send_and_pump(FLOW_BULK_BYTES);
    desk.context.pipes.max_pipes = 0;
    pipe_discard(&desk.context.pipes, pipe_borrow(&desk.context.pipes));
    line_write(&line, 20000000);
    line_pump_until(&line, FLOW_BLOCKED);
    assert_int_equal(stats_read(&desk.stats.worker.relayed_splice), FLOW_BULK_BYTES);
    assert_true(line.flow.n_received > 2 * FLOW_BULK_BYTES + FLOW_READ_BYTES);
    assert_in_range(line.flow.n_held, 0, FLOW_READ_BYTES);
    line_finish(&line);
    line_close(&line);
    desk_close(&desk);
}

/* --- pipes ---------------------------------------------------------------------------------- */

static void test_pipe_comes_back_when_empty(void **state)
{
    (void)state;
    desk_open(&desk, 4);
    line_open(&line, &desk, 0);
    for (int i = 0; i < 10; i++) {
        send_and_pump(2 * FLOW_BULK_BYTES);
        assert_int_equal(desk.context.pipes.n_lent, 0);
        assert_null(line.flow.pipe);
    }
    assert_int_equal(desk.context.pipes.n_idle, 1);
    assert_true(stats_read(&desk.stats.worker.relayed_splice) > 0);
    line_close(&line);
    desk_close(&desk);
}

static void test_dirty_pipe_is_discarded(void **state)
{
    uint32_t n_held;

    (void)state;
    line_stall(&line, &desk, 4);
    n_held = line.flow.n_held;
    assert_non_null(line.flow.pipe);
    assert_int_equal(desk.context.pipes.n_lent, 1);
    flow_fini(&line.flow, &desk.context);
    assert_int_equal(desk.context.pipes.n_lent, 0);
    assert_int_equal(desk.context.pipes.n_idle, 0);
    assert_int_equal(stats_read(&desk.stats.worker.dropped_bytes), n_held);
    line_close(&line);
    desk_close(&desk);
}

/* The only pipe does not stay with a reader who has stopped. */
static void test_scarce_pipe_is_unloaded(void **state)
{
    struct line other;

    (void)state;
    line_stall(&line, &desk, 1);
    assert_null(line.flow.pipe);
    assert_non_null(line.flow.rest);
    assert_int_equal(desk.context.pipes.n_lent, 0);
    assert_int_equal(desk.context.pipes.n_idle, 1);
    line_open(&other, &desk, 0);
    for (int i = 0; i < 3; i++) {
        line_write(&other, 2 * FLOW_BULK_BYTES);
        line_wait_queued(&other.from, 2 * FLOW_BULK_BYTES);
        line_pump_through(&other, other.n_written);
    }
    assert_true(stats_read(&desk.stats.worker.relayed_splice) >= 4 * FLOW_BULK_BYTES);
    line_finish(&line);
    line_finish(&other);
    line_close(&other);
    line_close(&line);
    desk_close(&desk);
}

/* Four lines share two pipes, and one of their writers resets half-way: no byte of one line turns
 * up in another (F13). */
enum { N_LINES = 4 };

static void work_on(struct line *one, struct seed *seed, uint64_t total)
{
    line_write(one, seed_next(seed, total - one->n_written + 1));
    if (seed_next(seed, 3))
        line_read(one, 1 + seed_next(seed, 65536));
    assert_int_not_equal(line_pump(one), FLOW_BROKEN);
}

static void share_pipes(struct seed *seed)
{
    const uint64_t total = 1000000;
    struct line lines[N_LINES];

    desk_open(&desk, 2);
    for (size_t i = 0; i < N_LINES; i++) {
        line_open(&lines[i], &desk, i % 2 ? STALL_BUFFER : 0);
        lines[i].base = (uint64_t)i << 40;
    }
    for (int step = 0; step < 60; step++)
        work_on(&lines[seed_next(seed, N_LINES)], seed, total);
    line_close(&lines[0]);
    for (int step = 0; step < 60; step++)
        work_on(&lines[1 + seed_next(seed, N_LINES - 1)], seed, total);
    for (size_t i = 1; i < N_LINES; i++) {
        line_finish(&lines[i]);
        line_close(&lines[i]);
    }
    desk_close(&desk);
}

static void test_lines_share_pipes(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int round = 0; round < 10; round++)
        share_pipes(&seed);
}

/* --- budget and urgent bytes ------------------------------------------------------------------ */

static void use_up_budget(uint32_t max_pipes)
{
    desk_open(&desk, max_pipes);
    line_open(&line, &desk, 0);
    line_write(&line, 16 * 1024 * 1024);
    assert_true(line.n_written > FLOW_BUDGET_BYTES + FLOW_BUFFER_BYTES);
    /* As with an urgent mark in sight: a short read is no reason to stop, each one lets more come
     * in. */
    line.from.has_urgent = true;
    line.flow.is_reined = true; /* it is not: nobody reads, and the budget is to be spent */
    assert_int_equal(line_pump(&line), FLOW_AGAIN);
    assert_true(line.flow.is_eased);
    /* A pipe takes up to 1 MiB in one read. */
    assert_in_range(line.flow.n_received, FLOW_BUDGET_BYTES,
                    FLOW_BUDGET_BYTES + (max_pipes ? PIPE_WANTED_BYTES : FLOW_BUFFER_BYTES));
    assert_int_equal(line.flow.n_held, 0);
    line_finish(&line);
    line_close(&line);
    desk_close(&desk);
}

static void test_budget(void **state)
{
    (void)state;
    use_up_budget(0);
    use_up_budget(1);
}

static void send_urgent(void)
{
    assert_int_equal(send(line.writer_fd, "!", 1, MSG_OOB), 1);
}

/* Six urgent bytes between small and bulk parts: every other byte arrives (K22, K28). */
static void pass_urgent(uint32_t max_pipes)
{
    static const size_t parts[] = {10, 40000, 40000, 3, 60000, 100};

    desk_open(&desk, max_pipes);
    line_open(&line, &desk, 0);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        line_write(&line, parts[i]);
        send_urgent();
        line_write(&line, parts[i]);
        line_pump_through(&line, line.n_written);
        assert_int_equal(line.n_read, line.n_written);
    }
    assert_int_equal(stats_read(&desk.stats.worker.relayed_splice) > 0, max_pipes > 0);
    line_finish(&line);
    assert_int_equal(line.from.error, 0);
    line_close(&line);
    desk_close(&desk);
}

static void test_urgent_bytes(void **state)
{
    (void)state;
    pass_urgent(0);
    pass_urgent(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_side_bits),
        cmocka_unit_test(test_side_latches_error),
        cmocka_unit_test(test_every_byte_in_order),
        cmocka_unit_test(test_unix_sockets),
        cmocka_unit_test(test_short_send_keeps_the_rest),
        cmocka_unit_test(test_bulk_splices_small_copies),
        cmocka_unit_test(test_small_reads_must_be_in_a_row),
        cmocka_unit_test(test_bulk_is_reined_in),
        cmocka_unit_test(test_reined_reader_is_owed_little),
        cmocka_unit_test(test_pipe_comes_back_when_empty),
        cmocka_unit_test(test_dirty_pipe_is_discarded),
        cmocka_unit_test(test_scarce_pipe_is_unloaded),
        cmocka_unit_test(test_lines_share_pipes),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_urgent_bytes),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
