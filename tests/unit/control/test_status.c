#include "lb4/control/status.h"

#include "guard_rig.h"

static const char *compose(void)
{
    reply_fini(&rig.reply);
    status_write(&rig.from, &rig.reply);
    assert_false(rig.reply.is_over);
    return rig_take();
}

static void expect(const char *part)
{
    if (!strstr(compose(), part))
        fail_msg("no '%s' in %s", part, rig.text);
}

/* Braces and quotes, outside of texts. */
static void check_form(const char *text)
{
    char open[20];
    size_t depth = 0;
    bool is_text = false;

    for (; *text; text++) {
        if (*text == '"' && text[-1] != '\\')
            is_text = !is_text;
        if (is_text)
            continue;
        if (*text == '{' || *text == '[')
            open[depth++] = *text;
        if (*text == '}' || *text == ']')
            assert_int_equal(open[--depth], *text == '}' ? '{' : '[');
        if (*text == ',')
            assert_true(text[1] == '"' || text[1] == '{');
    }
    assert_int_equal(depth, 0);
}

static void test_form(void **state)
{
    (void)state;
    check_form(compose());
    expect("\"state\":\"running\",\"ready\":true,\"generation\":1,");
    expect("\"workers\":[{\"worker\":1,\"active\":0,\"total\":0,\"handed_over\":0}],");
    expect("\"listeners\":[\"tcp/:5432\",\"both/127.0.0.1:53-54\"],\"balance\":\"leastconn\",");
    expect("{\"name\":\"a\",\"address\":\"10.0.0.1:5432\",\"state\":\"up\",");
    expect("\"address\":\"10.0.0.2\"");
    expect("\"history\":[]}\n");
    rig.services.services[0].is_gone = true;
    expect("{\"name\":\"db\",\"removed\":true,\"listeners\":[],");
    check_form(rig.text);
}

static void test_numbers(void **state)
{
    (void)state;
    stats_add(&rig.stats.services[0].connections, 9);
    stats_add(&rig.stats.services[0].closed[CLOSE_IDLE], 2);
    stats_set(&rig.stats.worker.pipes_idle, 11);
    stats_set(&rig.stats.worker.pipes_lent, 12);
    stats_set(&rig.stats.worker.relayed_splice, 13);
    stats_set(&rig.stats.worker.relayed_copy, 14);
    rig.reload.n_good = 3;
    rig.reload.n_failed = 1;
    expect("\"active\":7,\"total\":9,");
    expect("\"idle\":2,");
    expect("\"pipes\":{\"idle\":11,\"lent\":12}");
    expect("\"relay\":{\"splice_bytes\":13,\"copy_bytes\":14}");
    expect("\"generation\":4,");
    expect("\"reloads\":{\"ok\":3,\"failed\":1}");
}

static void test_sources(void **state)
{
    (void)state;
    assert_null(strstr(compose(), "\"sources\""));
    guard_give(&(struct conf_guard){
        .per_source = 1, .ban = {.n_refused = 1, .within_ms = 60000, .for_ms = 3600000}});
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_PER_SOURCE);
    expect("\"sources\":{\"tracked\":1,\"limit\":524288,\"evicted\":0,\"shared\":0,"
           "\"banned\":1,\"bans\":1},");
    check_form(rig.text);
    guard_all_leave();
}

static void append(struct history *history, uint64_t at_ns, uint32_t standing, const char *why)
{
    struct history_entry entry = {
        .at_ns = at_ns, .lasted_ns = 5 * CLOCK_NS_PER_S, .standing = standing};

    strcpy(entry.service, "db");
    strcpy(entry.server, "a");
    strcpy(entry.why, why);
    history_append(history, &entry);
}

/* Of the prober and of operators, in order. */
static void test_history(void **state)
{
    struct history *wishes = history_new();
    const char *down;
    const char *drain;

    (void)state;
    rig.from.wishes = wishes;
    append(wishes, 200, PICK_DRAIN, "drain, by uid 0");
    append(rig.prober.history, 100, PICK_DOWN, "said \"no\"");
    append(rig.prober.history, 300, 0, "up again");
    check_form(compose());
    down = strstr(rig.text, "\"service\":\"db\",\"server\":\"a\",\"state\":\"down\","
                            "\"why\":\"said \\\"no\\\"\",\"lasted_s\":5}");
    drain = strstr(rig.text, "\"state\":\"drain\"");
    assert_non_null(down);
    assert_true(drain > down);
    assert_true(strstr(rig.text, "\"why\":\"up again\"") > drain);
    history_free(wishes);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;

    while ((text = strstr(text, part))) {
        n++;
        text++;
    }
    return n;
}

/* The last ones of both. */
static void test_history_is_bounded(void **state)
{
    struct history *wishes = history_new();

    (void)state;
    rig.from.wishes = wishes;
    reply_fini(&rig.reply);
    reply_init(&rig.reply, 1 << 20);
    for (uint64_t i = 0; i < 1000; i++) {
        char why[20];

        snprintf(why, sizeof(why), "w%llu", (unsigned long long)i);
        append(i % 2 ? wishes : rig.prober.history, i, 0, why);
    }
    status_write(&rig.from, &rig.reply);
    reply_append(&rig.reply, "", 1);
    assert_int_equal(count(rig.reply.bytes, "\"why\":\"w"), HISTORY_ENTRIES);
    assert_null(strstr(rig.reply.bytes, "\"w487\""));
    assert_non_null(strstr(rig.reply.bytes, "\"w488\""));
    assert_non_null(strstr(rig.reply.bytes, "\"w999\""));
    history_free(wishes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_form),
        RIGGED(test_sources),
        RIGGED(test_numbers),
        RIGGED(test_history),
        RIGGED(test_history_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
