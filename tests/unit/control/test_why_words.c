#include "lb4/control/why_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { N = 2 };

static struct service_plan plan;
static struct foreseen servers[N];
static struct foresight foresight = {.plan = &plan, .servers = servers, .n = N};

/* The first of two, in the best rank of the two. */
static const char *reason(enum conf_balance balance, struct foreseen server, const char *note)
{
    static char text[WHY_TEXT_MAX];

    plan = (struct service_plan){.balance = balance, .n_sequence = 7};
    servers[0] = server;
    servers[1] = (struct foreseen){.standing = 1, .rank = PICK_RANK_BEST};
    servers[0].rank = pick_rank(server.standing, false);
    foresight.best_rank = servers[0].rank ? servers[0].rank : PICK_RANK_BEST;
    return why_reason(&foresight, 0, note, "db2", text);
}

struct reason_case {
    enum conf_balance balance;
    struct foreseen server;
    const char *note;
    const char *reason;
};

static const struct reason_case cases[] = {
    {CONF_BALANCE_LEASTCONN, {.standing = PICK_DOWN | 1}, "refused", "down: refused"},
    {CONF_BALANCE_LEASTCONN, {.standing = PICK_DOWN | PICK_DRAIN | 1}, "", "draining"},
    {CONF_BALANCE_LEASTCONN, {.standing = PICK_MAINT | 1}, "by uid 0", "in maintenance: by uid 0"},
    {CONF_BALANCE_LEASTCONN, {.standing = PICK_NEW | 1}, "", "waits for its first probe"},
    {CONF_BALANCE_SOURCE, {.standing = PICK_GONE | 1}, "", "removed from the configuration"},
    {CONF_BALANCE_LEASTCONN, {.standing = 1, .odds = 1}, "", "the least loaded"},
    {CONF_BALANCE_LEASTCONN,
     {.standing = 1, .odds = 0.5},
     "",
     "as little loaded as others: drawn at random"},
    {CONF_BALANCE_LEASTCONN, {.standing = 1}, "", "more loaded than db2"},
    {CONF_BALANCE_LEASTCONN,
     {.standing = PICK_FRESH | 1, .odds = 0.5},
     "",
     "as little loaded as any; came back a moment ago, passed over every second time"},
    {CONF_BALANCE_LEASTCONN, {.standing = PICK_FRESH | 1}, "", "more loaded than db2"},
    {CONF_BALANCE_LEASTCONN,
     {.standing = 1, .active = 3, .odds = 0.5},
     "",
     "the least loaded of those that did not come back a moment ago"},
    {CONF_BALANCE_LEASTCONN,
     {.standing = PICK_BACKUP | 1, .odds = 1},
     "",
     "backup, and no primary is up: the least loaded"},
    {CONF_BALANCE_LEASTCONN,
     {.standing = PICK_SUSPECT | 1, .odds = 1},
     "",
     "suspect, but there is nobody else: the least loaded"},
    {CONF_BALANCE_LEASTCONN,
     {.standing = PICK_SUSPECT | 1, .odds = 1},
     "no answer",
     "suspect, but there is nobody else: the least loaded; no answer"},
    {CONF_BALANCE_LEASTCONN, {.standing = 1, .odds = 1}, "all well", "the least loaded"},
    {CONF_BALANCE_LEASTCONN,
     {.standing = PICK_SUSPECT | PICK_TRIAL | 1, .odds = 1},
     "",
     "suspect, and the next client may try it: the least loaded"},
    {CONF_BALANCE_ROUNDROBIN, {.standing = 1, .odds = 1, .queue = 1}, "", "the next turn is its"},
    {CONF_BALANCE_ROUNDROBIN,
     {.standing = PICK_FRESH | 1, .odds = 1, .queue = 3},
     "",
     "the first in turn that is usable"},
    {CONF_BALANCE_ROUNDROBIN,
     {.standing = 1, .queue = 3},
     "",
     "its turn comes later than that of db2"},
    {CONF_BALANCE_SOURCE, {.standing = 1, .odds = 1, .queue = 1}, "", "the client's place is its"},
    {CONF_BALANCE_SOURCE,
     {.standing = 1, .odds = 1, .queue = 2},
     "",
     "the first on its way that is usable"},
    {CONF_BALANCE_SOURCE, {.standing = 1, .queue = 2}, "", "the client comes first to db2"},
    {CONF_BALANCE_SOURCE, {.standing = 1, .odds = 1}, "", "the least loaded"},
    {CONF_BALANCE_RANDOM, {.standing = 1}, "", "more loaded than whoever is drawn with it"},
    {CONF_BALANCE_RANDOM,
     {.standing = 1, .odds = 0.3},
     "",
     "of two that are drawn the less loaded is taken"},
};

static void test_reasons(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(reason(cases[i].balance, cases[i].server, cases[i].note),
                            cases[i].reason);
}

static void test_behind_others(void **state)
{
    char text[WHY_TEXT_MAX];

    (void)state;
    reason(CONF_BALANCE_LEASTCONN, (struct foreseen){.standing = PICK_BACKUP | 1}, "");
    foresight.best_rank = PICK_RANK_BEST;
    why_reason(&foresight, 0, "", "db2", text);
    assert_string_equal(text, "backup: not while a primary is up");
    reason(CONF_BALANCE_LEASTCONN, (struct foreseen){.standing = PICK_SUSPECT | 1}, "");
    foresight.best_rank = PICK_RANK_BEST;
    why_reason(&foresight, 0, "reset", "db2", text);
    assert_string_equal(text, "suspect, only if there is nobody above suspicion: reset");
}

static void test_tiers_and_the_last_resort(void **state)
{
    const uint32_t third = 2 << PICK_PRIORITY_SHIFT | 1;
    char text[WHY_TEXT_MAX];

    (void)state;
    assert_string_equal(
        reason(CONF_BALANCE_LEASTCONN, (struct foreseen){.standing = third, .odds = 1}, ""),
        "priority 3, and nobody before it is up: the least loaded");
    foresight.best_rank = PICK_RANK_BEST;
    assert_string_equal(why_reason(&foresight, 0, "", "db2", text),
                        "priority 3: not while one before it is up");
    servers[0] = (struct foreseen){
        .standing = PICK_DOWN | 1, .odds = 1, .rank = pick_rank_last(PICK_DOWN | 1)};
    foresight.best_rank = servers[0].rank;
    assert_string_equal(why_reason(&foresight, 0, "refused", NULL, text),
                        "down, but nobody is usable: the least loaded; refused");
    foresight.best_rank = PICK_RANK_BEST;
    servers[0].odds = 0;
    assert_string_equal(why_reason(&foresight, 0, "refused", "db2", text),
                        "down, only if nobody is usable: refused");
}

static void test_slow_start(void **state)
{
    const uint32_t ramped = 12u << PICK_RAMP_SHIFT | 1;
    char text[WHY_TEXT_MAX];

    (void)state;
    foresight.has_ramps = true;
    assert_string_equal(
        reason(CONF_BALANCE_LEASTCONN, (struct foreseen){.standing = ramped, .odds = 0.2}, ""),
        "the turn may be its; slow-start: it has 12/32 of its part of the choices");
    assert_string_equal(
        reason(CONF_BALANCE_ROUNDROBIN,
               (struct foreseen){.standing = PICK_LEVEL | 1, .odds = 0.2, .queue = 2}, ""),
        "the turn may be its; slow-start: it catches up, with at most twice its part of the "
        "choices");
    why_reason(&foresight, 1, "", NULL, text);
    servers[1].odds = 0.8;
    plan.balance = CONF_BALANCE_LEASTCONN;
    assert_string_equal(why_reason(&foresight, 1, "", NULL, text),
                        "as little loaded as any with its full share");
    foresight.has_ramps = false;
}

static void test_who_is_passed_over(void **state)
{
    const struct foreseen fresh = {.standing = PICK_FRESH | 1, .odds = 1};
    char text[WHY_TEXT_MAX];

    (void)state;
    reason(CONF_BALANCE_LEASTCONN, fresh, "");
    servers[1].standing |= PICK_FRESH;
    why_reason(&foresight, 0, "", "db1", text);
    assert_string_equal(text, "the least loaded"); /* all came back: nobody is spared */
    reason(CONF_BALANCE_LEASTCONN, fresh, "");
    servers[1].rank = PICK_RANK_BEST - 2;
    why_reason(&foresight, 0, "", "db1", text);
    assert_string_equal(text, "the least loaded"); /* not for a backup */
}

static void test_scores(void **state)
{
    const struct foreseen server = {.standing = 2, .active = 4, .turns = 3, .queue = 2};
    char text[WHY_SCORE_MAX];

    (void)state;
    reason(CONF_BALANCE_LEASTCONN, server, "");
    assert_string_equal(why_score(&foresight, 0, text), "2.50");
    reason(CONF_BALANCE_ROUNDROBIN, server, "");
    assert_string_equal(why_score(&foresight, 0, text), "turn 2, 3 of 7");
    reason(CONF_BALANCE_SOURCE, server, "");
    assert_string_equal(why_score(&foresight, 0, text), "place 2");
    reason(CONF_BALANCE_RANDOM, server, "");
    assert_string_equal(why_score(&foresight, 0, text), "3 of 7 turns, load 2.50");
    reason(CONF_BALANCE_SOURCE, (struct foreseen){.standing = 1}, "");
    assert_string_equal(why_score(&foresight, 0, text), "-");
}

static void test_chances(void **state)
{
    char text[WHY_CHANCE_MAX];

    (void)state;
    assert_string_equal(why_chance(&(struct foreseen){.odds = 0}, text), "no");
    assert_string_equal(why_chance(&(struct foreseen){.odds = 1}, text), "yes");
    assert_string_equal(why_chance(&(struct foreseen){.odds = 1 / 3.0}, text), "33 %");
    assert_string_equal(why_chance(&(struct foreseen){.odds = 0.001}, text), "below 1 %");
}

static void test_affinity(void **state)
{
    char text[WHY_AFFINITY_MAX];
    struct affinity_view *view = &foresight.affinity;

    (void)state;
    assert_string_equal(why_affinity(&foresight, NULL, text),
                        "Affinity: nothing is known of the client, so the policy decides.");
    *view = (struct affinity_view){
        .is_known = true, .is_present = true, .is_held = true, .left_ns = 56000000001};
    assert_string_equal(why_affinity(&foresight, "db1", text),
                        "Affinity: the client stays with db1, for 57 s more.");
    view->n_live = 2;
    assert_string_equal(why_affinity(&foresight, "db1", text),
                        "Affinity: the client stays with db1, for 57 s more, and while it has any "
                        "of its 2.");
    assert_string_equal(reason(CONF_BALANCE_LEASTCONN, (struct foreseen){.standing = 1}, ""),
                        "affinity: the client's last one went there");
    view->place = 1;
    assert_string_equal(reason(CONF_BALANCE_LEASTCONN, (struct foreseen){.standing = 1}, ""),
                        "affinity: the client goes to db2");
    *view = (struct affinity_view){.is_known = true, .is_present = true, .why = "is full"};
    assert_string_equal(why_affinity(&foresight, "db1", text),
                        "Affinity: db1, where the client's last one went, is full: the policy "
                        "decides, and the client stays where that sends it.");
    *view = (struct affinity_view){0};
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_behind_others),
        cmocka_unit_test(test_tiers_and_the_last_resort),
        cmocka_unit_test(test_slow_start),
        cmocka_unit_test(test_who_is_passed_over),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_chances),
        cmocka_unit_test(test_affinity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
