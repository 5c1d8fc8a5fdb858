#include "lb4/relay/udp_share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../seed.h"

enum { N_WORKERS = 3, N_STEPS = 100000 };

/* The share knows only where it is: in these tests a session is its place, its worker, and when it
 * came into its tier. */
struct udp_session {
    struct udp_place place;
    struct udp_share *share;
    uint64_t since;
};

static struct udp_room room;
static struct udp_share shares[N_WORKERS];
static uint64_t n_events;

static void open_all(uint32_t n_sessions)
{
    udp_room_init(&room, n_sessions);
    for (size_t i = 0; i < N_WORKERS; i++)
        udp_share_init(&shares[i], &room);
}

static void leave(struct udp_session *session)
{
    udp_share_leave(session->share, &session->place);
    free(session);
}

static void close_all(void)
{
    for (size_t i = 0; i < N_WORKERS * UDP_TIERS; i++) {
        struct udp_share *share = &shares[i / UDP_TIERS];
        struct udp_session *session;

        while ((session = udp_share_longest(share, (enum udp_tier)(i % UDP_TIERS))))
            leave(session);
        assert_int_equal(share->n[i % UDP_TIERS], 0);
    }
    assert_int_equal(udp_room_used(&room), 0);
    assert_int_equal(capacity_used(&room.trial.capacity), 0);
}

static struct udp_session *enter(struct udp_share *share)
{
    struct udp_session *session = calloc(1, sizeof(*session));

    assert_non_null(session);
    session->share = share;
    session->since = n_events++;
    udp_share_enter(share, &session->place, session);
    return session;
}

static struct udp_session *add(struct udp_share *share)
{
    struct udp_session *victim;

    assert_true(udp_share_take(share, &victim));
    return enter(share);
}

static void promote(struct udp_session *session, enum udp_tier tier)
{
    if (session->place.tier < tier)
        session->since = n_events++;
    udp_share_promote(session->share, &session->place, tier);
}

static void add_many(struct udp_share *share, enum udp_tier tier, int n)
{
    while (n-- > 0)
        promote(add(share), tier);
}

static struct udp_session *refused(struct udp_share *share)
{
    struct udp_session *victim;
    uint32_t n_before = udp_room_used(&room);

    assert_false(udp_share_take(share, &victim));
    assert_int_equal(udp_room_used(&room), n_before);
    return victim;
}

/* --- who goes --------------------------------------------------------------------------------- */

static void test_trial_takes_half(void **state)
{
    struct udp_session *first;

    (void)state;
    open_all(9);
    first = add(&shares[0]);
    add_many(&shares[0], UDP_TIER_TRIAL, 4);
    assert_ptr_equal(refused(&shares[0]), first);
    leave(first);
    add_many(&shares[0], UDP_TIER_TRIAL, 1);
    assert_int_equal(udp_room_used(&room), 5);
    close_all();
}

/* One question each: they have the whole room, and the one answered longest ago goes. */
static void test_answered_take_all(void **state)
{
    struct udp_session *first;

    (void)state;
    open_all(10);
    first = add(&shares[0]);
    promote(first, UDP_TIER_ANSWERED);
    add_many(&shares[0], UDP_TIER_ANSWERED, 9);
    assert_ptr_equal(refused(&shares[0]), first);
    leave(first);
    add_many(&shares[0], UDP_TIER_ANSWERED, 1);
    close_all();
}

static void test_established_stay(void **state)
{
    struct udp_session *last;

    (void)state;
    open_all(4);
    add_many(&shares[0], UDP_TIER_ESTABLISHED, 3);
    last = add(&shares[0]);
    assert_ptr_equal(refused(&shares[0]), last);
    promote(last, UDP_TIER_ANSWERED);
    assert_ptr_equal(refused(&shares[0]), last);
    promote(last, UDP_TIER_ESTABLISHED);
    assert_null(refused(&shares[0]));
    promote(last, UDP_TIER_ANSWERED); /* never back */
    assert_int_equal(last->place.tier, UDP_TIER_ESTABLISHED);
    leave(last);
    add_many(&shares[0], UDP_TIER_TRIAL, 1);
    close_all();
}

static void test_answered_go_before_trial(void **state)
{
    struct udp_session *trial;
    struct udp_session *answered;

    (void)state;
    open_all(6);
    add_many(&shares[0], UDP_TIER_ESTABLISHED, 3);
    trial = add(&shares[0]);
    answered = add(&shares[0]);
    promote(answered, UDP_TIER_ANSWERED);
    add_many(&shares[0], UDP_TIER_TRIAL, 1);
    assert_ptr_equal(refused(&shares[0]), answered);
    leave(answered);
    add_many(&shares[0], UDP_TIER_TRIAL, 1);
    assert_ptr_equal(refused(&shares[0]), trial); /* half are on trial */
    close_all();
}

static void test_spare_with_room_left(void **state)
{
    struct udp_session *trial;
    struct udp_session *answered;

    (void)state;
    open_all(100);
    assert_null(udp_share_spare(&shares[0]));
    add_many(&shares[0], UDP_TIER_ESTABLISHED, 1);
    assert_null(udp_share_spare(&shares[0]));
    trial = add(&shares[0]);
    assert_ptr_equal(udp_share_spare(&shares[0]), trial);
    answered = add(&shares[0]);
    promote(answered, UDP_TIER_ANSWERED);
    add_many(&shares[0], UDP_TIER_TRIAL, 1);
    assert_ptr_equal(udp_share_spare(&shares[0]), answered);
    add_many(&shares[0], UDP_TIER_TRIAL, 1);
    assert_ptr_equal(udp_share_spare(&shares[0]), trial); /* more than half are on trial */
    close_all();
}

static void test_untake(void **state)
{
    struct udp_session *victim;

    (void)state;
    open_all(2);
    for (int i = 0; i < 5; i++) {
        assert_true(udp_share_take(&shares[0], &victim));
        udp_share_untake(&shares[0]);
    }
    close_all();
}

/* --- among workers ---------------------------------------------------------------------------- */

/* Whoever holds them: all places can be used by one worker, and none more by all. */
static void test_limit_is_of_all(void **state)
{
    (void)state;
    open_all(10);
    add_many(&shares[0], UDP_TIER_ESTABLISHED, 10);
    assert_null(refused(&shares[1]));
    close_all();
    add_many(&shares[0], UDP_TIER_ANSWERED, 7);
    add_many(&shares[1], UDP_TIER_ANSWERED, 3);
    assert_null(refused(&shares[2]));
    close_all();
}

static uint32_t give(struct udp_share *share)
{
    struct udp_debt debt = udp_share_debt(share);

    for (uint32_t i = 0; i < debt.n_trial; i++)
        leave(udp_share_longest(share, UDP_TIER_TRIAL));
    for (uint32_t i = 0; i < debt.n_any; i++)
        leave(udp_share_victim(share));
    return debt.n_trial + debt.n_any;
}

/* Who has nothing of its own gets what another one has most of. */
static void check_asked(enum udp_tier tier, int n_there)
{
    open_all(10);
    add_many(&shares[0], UDP_TIER_ESTABLISHED, 10 - n_there);
    add_many(&shares[0], tier, n_there);
    assert_false(udp_share_ask(&shares[1]));
    assert_int_equal(give(&shares[0]), 0);
    assert_null(refused(&shares[1]));
    assert_true(udp_share_ask(&shares[1]));
    assert_int_equal(give(&shares[2]), 0);
    assert_int_equal(give(&shares[0]), 1);
    assert_int_equal(give(&shares[0]), 0);
    assert_false(udp_share_ask(&shares[1]));
    add_many(&shares[1], UDP_TIER_TRIAL, 1);
    assert_int_equal(shares[0].n[UDP_TIER_ESTABLISHED], 10 - n_there);
    close_all();
}

static void test_asked(void **state)
{
    (void)state;
    check_asked(UDP_TIER_ANSWERED, 10);
    check_asked(UDP_TIER_ANSWERED, 1);
    check_asked(UDP_TIER_TRIAL, 5);
    check_asked(UDP_TIER_TRIAL, 1);
}

static void test_established_are_not_asked_for(void **state)
{
    (void)state;
    open_all(10);
    add_many(&shares[0], UDP_TIER_ESTABLISHED, 10);
    assert_null(refused(&shares[1]));
    assert_true(udp_share_ask(&shares[1]));
    assert_int_equal(give(&shares[0]), 0);
    close_all();
}

/* A client at a worker; how many sessions had to go for it there. -1: it was turned away. */
static int come(struct udp_share *share, enum udp_tier tier)
{
    struct udp_session *victim;
    int n = 0;

    while (!udp_share_take(share, &victim)) {
        if (!victim)
            return -1;
        leave(victim);
        n++;
    }
    promote(enter(share), tier);
    return n;
}

/* All places are at one worker when a flood comes to all of them: soon each has its part. */
static void check_parts(enum udp_tier tier)
{
    uint32_t part = tier == UDP_TIER_TRIAL ? 150 / N_WORKERS : 300 / N_WORKERS;

    open_all(300);
    while (come(&shares[0], tier) == 0)
        ;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 10 * N_WORKERS; i++)
            come(&shares[i % N_WORKERS], tier);
        for (size_t i = 0; i < N_WORKERS; i++)
            if (udp_share_ask(&shares[i]))
                for (size_t j = 0; j < N_WORKERS; j++)
                    if (j != i)
                        give(&shares[j]);
    }
    for (size_t i = 0; i < N_WORKERS; i++)
        assert_in_range(shares[i].n[tier], part / 2, part * 2);
    close_all();
}

static void test_parts_become_even(void **state)
{
    (void)state;
    check_parts(UDP_TIER_TRIAL);
    check_parts(UDP_TIER_ANSWERED);
}

/* --- against a model -------------------------------------------------------------------------- */

/* All sessions, in no order; everything else by scanning. */
struct model {
    struct udp_session *sessions[100];
    size_t n;
};

static size_t model_count(const struct model *model, enum udp_tier tier)
{
    size_t n = 0;

    for (size_t i = 0; i < model->n; i++)
        n += model->sessions[i]->place.tier == tier;
    return n;
}

static struct udp_session *model_longest(const struct model *model, const struct udp_share *share,
                                         enum udp_tier tier)
{
    struct udp_session *found = NULL;

    for (size_t i = 0; i < model->n; i++) {
        struct udp_session *session = model->sessions[i];

        if (session->share == share && session->place.tier == tier &&
            (!found || session->since < found->since))
            found = session;
    }
    return found;
}

static void model_end(struct model *model, struct udp_session *session)
{
    for (size_t i = 0; i < model->n; i++)
        if (model->sessions[i] == session)
            model->sessions[i--] = model->sessions[--model->n];
    leave(session);
}

static void step_new(struct model *model, struct udp_share *share, size_t limit)
{
    size_t n_trial = model_count(model, UDP_TIER_TRIAL);
    struct udp_session *victim;
    struct udp_session *expected = NULL;

    if (udp_share_take(share, &victim)) {
        assert_true(model->n < limit && n_trial < (limit + 1) / 2);
        model->sessions[model->n++] = enter(share);
        return;
    }
    assert_true(model->n == limit || n_trial == (limit + 1) / 2);
    if (n_trial < (limit + 1) / 2)
        expected = model_longest(model, share, UDP_TIER_ANSWERED);
    if (!expected)
        expected = model_longest(model, share, UDP_TIER_TRIAL);
    if (!expected && n_trial < (limit + 1) / 2)
        expected = model_longest(model, share, UDP_TIER_LASTING);
    assert_ptr_equal(victim, expected);
    if (victim)
        model_end(model, victim);
}

static void run_model(struct seed *seed, uint32_t limit)
{
    struct model model = {0};

    open_all(limit);
    for (int i = 0; i < N_STEPS; i++) {
        uint64_t what = seed_next(seed, 10);
        struct udp_session *session = model.n > 0 ? model.sessions[seed_next(seed, model.n)] : NULL;

        if (what < 5 || !session)
            step_new(&model, &shares[seed_next(seed, N_WORKERS)], limit);
        else if (what < 8)
            promote(session, (enum udp_tier)seed_next(seed, UDP_TIERS));
        else
            model_end(&model, session);
        assert_int_equal(udp_room_used(&room), model.n);
    }
    close_all();
}

static void test_against_model(void **state)
{
    static const uint32_t limits[] = {1, 2, 3, 8, 33, 64};
    struct seed seed = seed_new();

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        run_model(&seed, limits[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trial_takes_half),
        cmocka_unit_test(test_answered_take_all),
        cmocka_unit_test(test_established_stay),
        cmocka_unit_test(test_answered_go_before_trial),
        cmocka_unit_test(test_spare_with_room_left),
        cmocka_unit_test(test_untake),
        cmocka_unit_test(test_limit_is_of_all),
        cmocka_unit_test(test_asked),
        cmocka_unit_test(test_established_are_not_asked_for),
        cmocka_unit_test(test_parts_become_even),
        cmocka_unit_test(test_against_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
