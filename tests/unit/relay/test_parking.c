#include "lb4/relay/parking.h"

#include "waiting_rig.h"

static uint64_t mark(void)
{
    return rig.relay.parking.marks[0].since_ns;
}

static void test_enter_and_leave(void **state)
{
    struct conn *conn;

    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    assert_int_equal(mark(), 0);
    waiting_add(0, 2);
    conn = waiting_conn(0);
    assert_int_equal(conn->state, CONN_WAITING);
    assert_int_equal(conn->waits_for, WAITING_SERVER);
    assert_int_equal(conn->server.source.fd, -1);
    assert_null(conn->backend);
    assert_int_equal(mark(), conn->accepted_ns);
    assert_int_equal(waiting_count(waiting_now(), WAITING_SERVER), 2);
    rig.loop.now_ns += 7;
    assert_int_equal(parking_waited_ns(conn, rig.loop.now_ns), rig.loop.now_ns - conn->accepted_ns);
    parking_leave(&rig.relay, conn, WAITING_SERVED);
    assert_int_equal(conn->state, CONN_CONNECTING);
    assert_int_equal(mark(), waiting_conn(1)->accepted_ns);
    assert_int_equal(waiting_ended(WAITING_SERVED), 1);
    parking_leave(&rig.relay, waiting_conn(1), WAITING_TURNED_AWAY);
    assert_int_equal(mark(), 0);
    assert_false(waiting_is_any(waiting_now()));
    waiting_close(2);
}

/* One that comes back, as its server failed it, comes before those that came after it. */
static void test_order_is_that_of_arrival(void **state)
{
    struct conn *conns[4];
    struct list *link;

    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    waiting_add(0, 4);
    for (int i = 0; i < 4; i++)
        conns[i] = waiting_conn(i);
    for (int i = 2; i >= 0; i -= 2) {
        parking_leave(&rig.relay, conns[i], WAITING_SERVED);
        assert_true(parking_enter(&rig.relay, conns[i], WAITING_SERVER));
    }
    link = rig.relay.parking.rooms[0].clients.next;
    for (int i = 0; i < 4; i++, link = link->next)
        assert_ptr_equal(container_of(link, struct conn, parked), conns[i]);
    assert_int_equal(mark(), conns[0]->accepted_ns);
    waiting_close(4);
}

static void test_caps_and_closed_doors(void **state)
{
    struct conn *conn;

    (void)state;
    waiting_open(1);
    waiting_add(0, 4); /* one is served, two wait for its place, one is too many */
    assert_int_equal(waiting_count(waiting_now(), WAITING_PLACE), QUEUE_MAX);
    assert_int_equal(waiting_closed(CLOSE_LIMIT), 1);
    assert_int_equal(stats_read(&rig.stats.services[0].waiting.refused), 1);
    conn = waiting_conn(1);
    assert_int_equal(conn->waits_for, WAITING_PLACE);
    assert_true(parking_move_to_server(&rig.relay, conn));
    assert_int_equal(conn->waits_for, WAITING_SERVER);
    assert_int_equal(waiting_count(waiting_now(), WAITING_PLACE), 1);
    rig.relay.parking.is_draining = true;
    assert_false(parking_is_open(&rig.relay, conn->service, WAITING_SERVER));
    assert_true(parking_is_open(&rig.relay, conn->service, WAITING_PLACE));
    assert_false(parking_move_to_server(&rig.relay, waiting_conn(2)));
    rig.relay.parking.is_draining = false;
    waiting_close(4);
}

/* The worker's last client goes, perhaps just as it was woken: others get the wake. */
static void test_the_last_one_passes_a_wake_on(void **state)
{
    static struct waiting_mark other_mark;
    static struct mailbox other; /* in a frame that ASan keeps on its heap gcc does not align it */

    (void)state;
    waiting_open(0);
    assert_int_equal(mailbox_init(&other), 0);
    waiting_crew_join(rig.services.crew, &other, &other_mark);
    waiting_set_down(true);
    waiting_add(0, 2);
    other_mark.since_ns = 1;
    waiting_enter(waiting_now(), WAITING_SERVER, HOLD_MAX);
    parking_leave(&rig.relay, waiting_conn(0), WAITING_GAVE_UP);
    assert_int_equal(mailbox_take(&other), 0);
    parking_leave(&rig.relay, waiting_conn(1), WAITING_GAVE_UP);
    assert_int_equal(mailbox_take(&other), MAILBOX_WAITING);
    waiting_leave(waiting_now(), WAITING_SERVER);
    rig.services.crew->n = 1;
    mailbox_fini(&other);
    waiting_close(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enter_and_leave),
        cmocka_unit_test(test_order_is_that_of_arrival),
        cmocka_unit_test(test_caps_and_closed_doors),
        cmocka_unit_test(test_the_last_one_passes_a_wake_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
