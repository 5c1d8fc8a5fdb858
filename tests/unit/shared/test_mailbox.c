#include "lb4/shared/mailbox.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

enum { N_PRODUCERS = 3, N_HANDOFFS = 100000, WAIT_MS = 5000 };

static struct mailbox mailbox;

static int setup(void **state)
{
    (void)state;
    return mailbox_init(&mailbox);
}

static int teardown(void **state)
{
    (void)state;
    mailbox_fini(&mailbox);
    return 0;
}

static bool is_ringing(int wait_ms)
{
    struct pollfd ready = {mailbox.event_fd, POLLIN, 0};

    return poll(&ready, 1, wait_ms) == 1;
}

/* The numbers of these descriptors are made up; nobody opens or closes them. */
static struct mailbox_handoff handoff_of(int number)
{
    struct mailbox_handoff handoff = {.fd = number, .listener = (uint32_t)number * 2};

    addr_any(AF_INET, (uint16_t)number, &handoff.peer);
    return handoff;
}

static void test_requests_add_up(void **state)
{
    uint64_t count = 0;

    (void)state;
    assert_false(is_ringing(0));
    assert_int_equal(mailbox_take(&mailbox), 0);
    mailbox_post(&mailbox, MAILBOX_DRAIN);
    mailbox_post(&mailbox, MAILBOX_RESET | MAILBOX_DRAIN);
    assert_true(is_ringing(0));
    /* One write for the burst. */
    assert_int_equal(read(mailbox.event_fd, &count, sizeof(count)), sizeof(count));
    assert_int_equal(count, 1);
    assert_int_equal(mailbox_take(&mailbox), MAILBOX_DRAIN | MAILBOX_RESET);
    assert_int_equal(mailbox_take(&mailbox), 0);
}

static void *post_ping(void *unused)
{
    mailbox_post(&mailbox, MAILBOX_PING);
    return unused;
}

static void test_take_silences(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        mailbox_post(&mailbox, MAILBOX_EXIT);
        assert_true(is_ringing(0));
        assert_int_equal(mailbox_take(&mailbox), MAILBOX_EXIT);
        assert_false(is_ringing(0));
    }
}

/* It ends with its time, and with a post, be that before it or within. */
static void test_doze(void **state)
{
    const uint64_t short_ns = 5 * 1000000ull;
    const uint64_t long_ns = 3600 * CLOCK_NS_PER_S;
    uint64_t began_ns = clock_now_ns();
    pthread_t thread;

    (void)state;
    mailbox_doze(&mailbox, short_ns);
    assert_true(clock_now_ns() - began_ns >= short_ns);
    assert_int_equal(pthread_create(&thread, NULL, post_ping, NULL), 0);
    mailbox_doze(&mailbox, long_ns);
    mailbox_doze(&mailbox, long_ns);
    pthread_join(thread, NULL);
    assert_int_equal(mailbox_take(&mailbox), MAILBOX_PING);
}

static void test_done(void **state)
{
    (void)state;
    assert_false(mailbox_is_done(&mailbox, MAILBOX_DRAIN));
    mailbox_mark_done(&mailbox, MAILBOX_DRAIN);
    assert_true(mailbox_is_done(&mailbox, MAILBOX_DRAIN));
    assert_false(mailbox_is_done(&mailbox, MAILBOX_DRAIN | MAILBOX_RESET));
    mailbox_mark_done(&mailbox, MAILBOX_RESET);
    assert_true(mailbox_is_done(&mailbox, MAILBOX_DRAIN | MAILBOX_RESET));
}

static void test_full_ring_is_an_answer(void **state)
{
    struct mailbox_handoff handoff;

    (void)state;
    assert_false(mailbox_receive(&mailbox, &handoff));
    for (int i = 0; i < MAILBOX_RING; i++) {
        assert_int_equal(mailbox_depth(&mailbox), i);
        handoff = handoff_of(i);
        assert_true(mailbox_hand_over(&mailbox, &handoff));
    }
    assert_false(mailbox_hand_over(&mailbox, &handoff));
    assert_int_equal(mailbox_depth(&mailbox), MAILBOX_RING);
    assert_true(mailbox_receive(&mailbox, &handoff));
    assert_int_equal(handoff.fd, 0);
    handoff = handoff_of(MAILBOX_RING);
    assert_true(mailbox_hand_over(&mailbox, &handoff));
    assert_false(mailbox_hand_over(&mailbox, &handoff));
    for (int i = 1; i <= MAILBOX_RING; i++) {
        assert_true(mailbox_receive(&mailbox, &handoff));
        assert_int_equal(handoff.fd, i);
        assert_int_equal(handoff.listener, i * 2);
        assert_int_equal(addr_port(&handoff.peer), i);
    }
    assert_false(mailbox_receive(&mailbox, &handoff));
    assert_int_equal(mailbox_depth(&mailbox), 0);
    assert_int_equal(mailbox_take(&mailbox), MAILBOX_HANDOFF);
}

static void test_fini_closes_what_is_left(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(mailbox_init(&mailbox), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    for (int i = 0; i < 2; i++) {
        struct mailbox_handoff handoff = {.fd = fds[i]};

        assert_true(mailbox_hand_over(&mailbox, &handoff));
    }
    mailbox_fini(&mailbox);
    assert_int_equal(mailbox.event_fd, -1);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    assert_int_equal(fcntl(fds[1], F_GETFD), -1);
}

static void *produce(void *arg)
{
    int first = (int)(intptr_t)arg * N_HANDOFFS;

    for (int i = first; i < first + N_HANDOFFS; i++) {
        struct mailbox_handoff handoff = handoff_of(i);

        while (!mailbox_hand_over(&mailbox, &handoff))
            sched_yield();
    }
    return NULL;
}

/* Each producer's handoffs come whole, once, and in its order. */
static int consume(int next[N_PRODUCERS])
{
    struct mailbox_handoff handoff;
    int n = 0;

    while (mailbox_receive(&mailbox, &handoff)) {
        int producer = handoff.fd / N_HANDOFFS;

        assert_in_range(producer, 0, N_PRODUCERS - 1);
        assert_int_equal(handoff.fd, producer * N_HANDOFFS + next[producer]++);
        assert_int_equal(handoff.listener, (uint32_t)handoff.fd * 2);
        assert_int_equal(addr_port(&handoff.peer), (uint16_t)handoff.fd);
        n++;
    }
    return n;
}

/* The consumer sleeps on the eventfd alone, so that a lost wake-up fails the test. */
static void test_many_producers(void **state)
{
    pthread_t threads[N_PRODUCERS];
    int next[N_PRODUCERS] = {0};
    int n = 0;

    (void)state;
    for (int i = 0; i < N_PRODUCERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, produce, (void *)(intptr_t)i), 0);
    while (n < N_PRODUCERS * N_HANDOFFS) {
        assert_true(is_ringing(WAIT_MS));
        mailbox_take(&mailbox);
        n += consume(next);
    }
    for (int i = 0; i < N_PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(next[i], N_HANDOFFS);
    }
    assert_int_equal(mailbox_depth(&mailbox), 0);
}

/* Each poster waits for the answer to its bit before it posts again: a bit or a wake-up that got
 * lost stops it. */
enum { N_POSTERS = 2, N_POSTS = 20000 };

static int answers[N_POSTERS];

static void *post_and_wait(void *arg)
{
    int poster = (int)(intptr_t)arg;

    for (int i = 1; i <= N_POSTS; i++) {
        mailbox_post(&mailbox, 1u << poster);
        while (__atomic_load_n(&answers[poster], __ATOMIC_ACQUIRE) < i)
            sched_yield();
    }
    return NULL;
}

static void test_no_request_is_lost(void **state)
{
    pthread_t threads[N_POSTERS];
    int n_awake = 0;
    int n = 0;

    (void)state;
    for (int i = 0; i < N_POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_and_wait, (void *)(intptr_t)i), 0);
    while (n < N_POSTERS * N_POSTS) {
        uint32_t requests;

        /* Seldom asleep, which leaves more room for races; a loss is found at the next sleep. */
        if (--n_awake < 0) {
            assert_true(is_ringing(WAIT_MS));
            n_awake = 100;
        }
        requests = mailbox_take(&mailbox);
        for (int i = 0; i < N_POSTERS; i++) {
            if (requests & 1u << i) {
                __atomic_add_fetch(&answers[i], 1, __ATOMIC_RELEASE);
                n++;
            }
        }
    }
    for (int i = 0; i < N_POSTERS; i++)
        pthread_join(threads[i], NULL);
}

static void test_answers_are_counted(void **state)
{
    (void)state;
    assert_int_equal(mailbox_pongs(&mailbox), 0);
    mailbox_post(&mailbox, MAILBOX_PING);
    assert_int_equal(mailbox_pongs(&mailbox), 0);
    assert_int_equal(mailbox_take(&mailbox), MAILBOX_PING);
    mailbox_pong(&mailbox);
    mailbox_pong(&mailbox);
    assert_int_equal(mailbox_pongs(&mailbox), 2);
}

/* An answer is for the questions that the turn began with. */
static void test_ask_and_answer(void **state)
{
    (void)state;
    assert_false(mailbox_answer(&mailbox));
    mailbox_post(&mailbox, MAILBOX_CHANGE);
    mailbox_ask(&mailbox, 1);
    assert_false(mailbox_answer(&mailbox)); /* a turn that has not looked yet */
    assert_int_equal(mailbox_answered(&mailbox), 0);
    assert_int_equal(mailbox_take(&mailbox), MAILBOX_CHANGE | MAILBOX_SYNC);
    mailbox_ask(&mailbox, 2);
    assert_true(mailbox_answer(&mailbox));
    assert_int_equal(mailbox_answered(&mailbox), 1);
    assert_false(mailbox_answer(&mailbox));
    mailbox_ask(&mailbox, 3);
    assert_int_equal(mailbox_take(&mailbox), MAILBOX_SYNC);
    assert_true(mailbox_answer(&mailbox));
    assert_int_equal(mailbox_answered(&mailbox), 3);
}

enum { N_QUESTIONS = 20000 };

/* Not atomic: the answer alone must make it safe. */
static uint64_t *current;
static uint64_t n_wrong;

static void *reader(void *unused)
{
    uint32_t requests = 0;

    (void)unused;
    while (!(requests & MAILBOX_EXIT)) {
        is_ringing(WAIT_MS);
        requests = mailbox_take(&mailbox);
        if (requests & MAILBOX_CHANGE && *current == 0)
            n_wrong++;
        mailbox_answer(&mailbox);
    }
    return NULL;
}

/* As control does it: put something there, have it taken, ask, and free it after the answer. */
static void test_grace(void **state)
{
    pthread_t thread;

    (void)state;
    n_wrong = 0;
    assert_int_equal(pthread_create(&thread, NULL, reader, NULL), 0);
    for (uint64_t i = 1; i <= N_QUESTIONS; i++) {
        uint64_t *mine = malloc(sizeof(*mine));

        *mine = i;
        current = mine;
        mailbox_post(&mailbox, MAILBOX_CHANGE);
        mailbox_ask(&mailbox, i);
        while (mailbox_answered(&mailbox) < i)
            sched_yield();
        *mine = 0;
        free(mine);
    }
    mailbox_post(&mailbox, MAILBOX_EXIT);
    pthread_join(thread, NULL);
    assert_int_equal(n_wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_requests_add_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_take_silences, setup, teardown),
        cmocka_unit_test_setup_teardown(test_doze, setup, teardown),
        cmocka_unit_test_setup_teardown(test_done, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ask_and_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_ring_is_an_answer, setup, teardown),
        cmocka_unit_test(test_fini_closes_what_is_left),
        cmocka_unit_test_setup_teardown(test_many_producers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_request_is_lost, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
