#include "lb4/control/change.h"

#include <errno.h>

#include "runtime_rig.h"

static char texts[8][RIG_TEXT_MAX];

/* printf(3) into one of a few texts. */
static __attribute__((format(printf, 2, 3))) const char *text(int which, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): of clang-tidy 14 */
    vsnprintf(texts[which], RIG_TEXT_MAX, format, arguments);
    va_end(arguments);
    return texts[which];
}

struct scene {
    struct addr front;
    struct addr other_front;
    int servers[2];
    struct addr at[2];
};

static struct scene scene_new(void)
{
    struct scene scene = {.front = sockets_closed_port(), .other_front = sockets_closed_port()};

    for (int i = 0; i < 2; i++)
        scene.servers[i] = sockets_listen(&scene.at[i]);
    return scene;
}

static void scene_free(struct scene *scene)
{
    for (int i = 0; i < 2; i++)
        close(scene->servers[i]);
}

/* `lines` of the service beside its listener and first server. */
static const char *with(const struct scene *scene, int which, const char *lines)
{
    return text(which, "service a {\n listen tcp 127.0.0.1:%u\n server s1 127.0.0.1:%u\n%s\n}\n",
                addr_port(&scene->front), addr_port(&scene->at[0]), lines);
}

static const char *second(const struct scene *scene, int which)
{
    return text(which, " server s2 127.0.0.1:%u", addr_port(&scene->at[1]));
}

static void greet(int client, int server)
{
    assert_int_equal(sockets_send(client, 0, 10), 10);
    sockets_wait(server, POLLIN);
    assert_int_equal(sockets_read(server, 0, 10), 10);
}

static void test_server_comes_and_goes(void **state)
{
    struct scene scene = scene_new();
    struct backend *first;
    struct backend *added;
    int client;
    int server;

    (void)state;
    rig_open(with(&scene, 0, "check none"));
    first = rig_server("a", "s1");
    client = sockets_connect(&scene.front);
    server = sockets_accept(scene.servers[0]);
    greet(client, server);
    rig_change(text(0, "%s", with(&scene, 1, text(2, "%s\n check none", second(&scene, 3)))));
    assert_ptr_equal(rig_server("a", "s1"), first);
    assert_int_equal(backend_active(first), 1);
    added = rig_server("a", "s2");
    assert_int_equal(backend_standing(added), 1); /* nothing waits for a probe that never comes */
    close(sockets_connect(&scene.front));
    close(sockets_accept(scene.servers[1])); /* the less loaded one */
    rig_change(with(&scene, 0, "check none"));
    assert_int_equal(added->state, BACKEND_GONE);
    assert_true(backend_standing(added) & PICK_GONE);
    rig_until_active(added, 0);
    rig_until_retired();
    assert_int_equal(added->state, BACKEND_NONE);
    assert_null(rig.runtime.services.by_number[1]);
    greet(client, server);
    close(client);
    close(server);
    rig_close();
    scene_free(&scene);
}

static void test_new_one_waits_for_its_first_probe(void **state)
{
    struct scene scene = scene_new();
    struct addr nobody = sockets_closed_port();
    const struct stats_checks *checks;
    uint64_t n_ok;

    (void)state;
    rig_open(with(&scene, 0, "check tcp interval 1h"));
    rig_change(with(&scene, 0,
                    text(1, "%s\n server s3 127.0.0.1:%u\n check tcp interval 1h",
                         second(&scene, 2), addr_port(&nobody))));
    rig_until_standing(rig_server("a", "s2"), PICK_NEW, false);
    rig_until_standing(rig_server("a", "s3"), PICK_DOWN, true);
    rig_until_standing(rig_server("a", "s3"), PICK_NEW, false);
    assert_int_equal(backend_standing(rig_server("a", "s2")) & PICK_UNUSABLE, 0);
    /* The first has not been probed anew: its check is the very same. */
    checks = &rig.runtime.prober.checks[rig_server("a", "s1")->stats_index];
    n_ok = stats_read(&checks->ok);
    assert_int_equal(n_ok, 1);
    rig_close();
    scene_free(&scene);
}

/* The same name at another address is another server; its counters go on. */
static void test_new_address_is_a_new_server(void **state)
{
    struct scene scene = scene_new();
    struct backend *old;
    struct backend *heir;
    int client;

    (void)state;
    rig_open(with(&scene, 0, "check none"));
    client = sockets_connect(&scene.front);
    close(sockets_accept(scene.servers[0]));
    sockets_wait(client, POLLIN);
    close(client);
    old = rig_server("a", "s1");
    rig_until_active(old, 0);
    rig_change(
        text(0, "service a {\n listen tcp 127.0.0.1:%u\n server s1 127.0.0.1:%u\n check none\n}\n",
             addr_port(&scene.front), addr_port(&scene.at[1])));
    heir = rig_server("a", "s1");
    assert_ptr_not_equal(heir, old);
    assert_int_equal(old->state, BACKEND_GONE);
    rig_until_retired();
    assert_int_equal(heir->carried.connections, 1);
    rig_close();
    scene_free(&scene);
}

static void test_weight_of_one(void **state)
{
    struct scene scene = scene_new();
    const char *both;
    struct change change;
    struct backend *backend;

    (void)state;
    both = with(&scene, 0, text(1, "%s\n check none", second(&scene, 2)));
    rig_open(both);
    backend = rig_server("a", "s2");
    assert_int_equal(change_prepare_weight(&change, &rig.runtime, rig_service("a"), backend, 7), 0);
    assert_int_equal(backend_weight(backend), 1);
    change_commit(&change, clock_now_ns());
    rig_run_change(&change);
    assert_int_equal(backend_weight(backend), 7);
    assert_int_equal(service_plan(rig_service("a"))->most_weight, 7);
    /* The operator's weight stays over a reload that does not touch the configured one. */
    rig_change(
        text(3, "%s", with(&scene, 4, text(1, "%s\n check none\n tries 2", second(&scene, 2)))));
    assert_int_equal(backend_weight(backend), 7);
    rig_change(
        text(3, "%s", with(&scene, 4, text(1, "%s weight 3\n check none", second(&scene, 2)))));
    assert_int_equal(backend_weight(backend), 3);
    rig_close();
    scene_free(&scene);
}

static void test_listeners_follow(void **state)
{
    struct scene scene = scene_new();
    struct service *first;
    int client;

    (void)state;
    rig_open(with(&scene, 0, "check none"));
    first = rig_service("a");
    rig_change(text(0, "%sservice b {\n listen tcp 127.0.0.1:%u\n server s 127.0.0.1:%u\n}\n",
                    with(&scene, 1, "check none"), addr_port(&scene.other_front),
                    addr_port(&scene.at[1])));
    client = sockets_connect(&scene.other_front);
    close(sockets_accept(scene.servers[1]));
    close(client);
    /* b has both, by the sockets that are there; a is gone. */
    rig_change(text(0,
                    "service b {\n listen tcp 127.0.0.1:%u\n listen tcp 127.0.0.1:%u\n"
                    " server s 127.0.0.1:%u\n}\n",
                    addr_port(&scene.other_front), addr_port(&scene.front),
                    addr_port(&scene.at[1])));
    assert_null(rig_service("a"));
    assert_true(first->is_gone);
    client = sockets_connect(&scene.front);
    close(sockets_accept(scene.servers[1]));
    close(client);
    rig_until_retired();
    while (first->is_used)
        rig_retire_once();
    /* Its place is the next one's. */
    rig_change(text(0, "%s", with(&scene, 1, "check none")));
    assert_ptr_equal(rig_service("a"), first);
    client = sockets_connect(&scene.front);
    close(sockets_accept(scene.servers[0]));
    close(client);
    rig_until_retired();
    rig_close();
    scene_free(&scene);
}

/* UDP where there was none, and gone again: the old service stays until its listener has left. */
static void test_udp_comes_and_goes(void **state)
{
    struct scene scene = scene_new();
    struct service *udp;
    struct change change;

    (void)state;
    rig_open(with(&scene, 0, "check none"));
    assert_false(udp_side_is_open(&rig.runtime.group.workers[0].udp));
    rig_change(text(0, "%sservice u {\n listen udp 127.0.0.1:%u\n server s 127.0.0.1:%u\n}\n",
                    with(&scene, 1, "check none"), addr_port(&scene.other_front),
                    addr_port(&scene.at[1])));
    udp = rig_service("u");
    assert_true(udp_side_is_open(&rig.runtime.group.workers[0].udp));
    rig_change(text(0, "drain 1h\n%s", with(&scene, 1, "check none")));
    rig_until_retired();
    for (int i = 0; i < 10; i++)
        rig_retire_once();
    assert_true(udp->is_used);
    assert_int_equal(runtime_count_listeners(&rig.runtime), 2);
    assert_int_equal(change_prepare_close(&change, &rig.runtime, UINT64_MAX - 1), 0);
    change_commit(&change, clock_now_ns());
    rig_run_change(&change);
    assert_int_equal(runtime_count_listeners(&rig.runtime), 1);
    assert_false(udp_side_is_open(&rig.runtime.group.workers[0].udp));
    while (udp->is_used)
        rig_retire_once();
    rig_close();
    scene_free(&scene);
}

/* What fails in the middle leaves nothing: no service, no server, no socket. */
static void test_refused_as_a_whole(void **state)
{
    struct scene scene = scene_new();
    struct addr taken;
    int other = sockets_listen(&taken);
    size_t n_fds;

    (void)state;
    rig_open(with(&scene, 0, "check none"));
    n_fds = sockets_count_fds();
    for (int i = 0; i < 20; i++)
        rig_refuse(text(0,
                        "%sservice b {\n listen tcp 127.0.0.1:%u\n listen tcp 127.0.0.1:%u\n"
                        " server s 127.0.0.1:%u\n}\n",
                        with(&scene, 1, text(2, "%s\n check none\n tries 9", second(&scene, 3))),
                        addr_port(&scene.other_front), addr_port(&taken), addr_port(&scene.at[1])),
                   -EADDRINUSE, "cannot listen on 127.0.0.1:");
    assert_int_equal(sockets_count_fds(), n_fds);
    assert_null(rig_service("b"));
    assert_null(rig_server("a", "s2"));
    assert_int_equal(rig_count(BACKEND_SERVING), 1);
    assert_int_equal(rig_count(BACKEND_ADDED), 0);
    assert_int_equal(service_plan(rig_service("a"))->tries, 3);
    rig_refuse(text(0, "maxconn 10000000\n%s", with(&scene, 1, "check none")), -EMFILE, "maxconn");
    rig_change(text(0, "%s", with(&scene, 1, text(2, "%s\n check none", second(&scene, 3)))));
    assert_non_null(rig_server("a", "s2"));
    rig_close();
    close(other);
    scene_free(&scene);
}

/* Threads have ended in any phase: the end of the process in the middle of a change. */
static void test_abandoned_in_any_phase(void **state)
{
    (void)state;
    for (int n_steps = -1; n_steps < 2; n_steps++) {
        struct scene scene = scene_new();
        char error[CHANGE_ERROR_MAX];
        struct patience patience = patience_new();
        struct conf *after;
        struct change change;

        rig_open(with(&scene, 0, "check tcp"));
        after = rig_conf(
            text(0, "%sservice b {\n listen both 127.0.0.1:%u\n server s 127.0.0.1:%u\n}\n",
                 with(&scene, 1, text(2, "%s\n check none", second(&scene, 3))),
                 addr_port(&scene.other_front), addr_port(&scene.at[1])));
        assert_int_equal(change_prepare(&change, &rig.runtime, rig.conf, after, error), 0);
        if (n_steps >= 0)
            change_commit(&change, clock_now_ns());
        while (n_steps > 0 && change.phase != CHANGE_ACTIVE && patience_holds(&patience)) {
            rig_wait();
            change_step(&change);
        }
        threads_stop(&rig.threads);
        change_abandon(&change);
        assert_int_equal(change.phase, CHANGE_NONE);
        rig_conf_drop(after);
        rig_close();
        scene_free(&scene);
    }
}

/* Probed, not probed, and back: nothing of the one way stays in the other. */
static void test_check_none_and_back(void **state)
{
    struct scene scene = scene_new();
    struct backend *dead;

    (void)state;
    close(scene.servers[1]);
    rig_open(with(&scene, 0, text(1, "%s\n check tcp interval 1h", second(&scene, 2))));
    dead = rig_server("a", "s2");
    rig_until_standing(dead, PICK_DOWN, true);
    rig_change(with(&scene, 0, text(1, "%s\n check none", second(&scene, 2))));
    assert_int_equal(backend_standing(dead), 1);
    rig_change(with(&scene, 0, text(1, "%s\n check tcp interval 1h", second(&scene, 2))));
    rig_until_standing(dead, PICK_DOWN, true);
    rig_close();
    close(scene.servers[0]);
}

/* Each reload has other timeouts, another service, another server: nothing adds up. */
static void test_nothing_grows(void **state)
{
    struct scene scene = scene_new();
    size_t n_lists;

    (void)state;
    rig_open(with(&scene, 0, "check none"));
    for (int i = 0; i < 60; i++) {
        rig_change(text(0,
                        "service a {\n listen tcp 127.0.0.1:%u\n server s%d 127.0.0.1:%u\n"
                        " check tcp\n timeout idle %ds\n timeout connect %dms\n}\n"
                        "service b%d {\n listen udp 127.0.0.1:%u\n server s 127.0.0.1:%u\n"
                        " timeout udp %ds\n}\n",
                        addr_port(&scene.front), i, addr_port(&scene.at[0]), 100 + i, 1000 + i,
                        i % 3, addr_port(&scene.other_front), addr_port(&scene.at[1]), 1000 + i));
        rig_until_retired();
    }
    n_lists = rig.runtime.group.workers[0].relay.deadlines.n_lists;
    assert_true(n_lists <= 40);
    assert_true(rig.runtime.group.workers[0].udp.relay.deadlines.n_lists <= 40);
    assert_true(rig.runtime.services.n_services <= 6);
    assert_true(rig.runtime.services.n_backends <= 8);
    assert_true(rig.runtime.listeners.n_listeners <= 6);
    rig_close();
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_comes_and_goes),
        cmocka_unit_test(test_new_one_waits_for_its_first_probe),
        cmocka_unit_test(test_new_address_is_a_new_server),
        cmocka_unit_test(test_weight_of_one),
        cmocka_unit_test(test_listeners_follow),
        cmocka_unit_test(test_udp_comes_and_goes),
        cmocka_unit_test(test_refused_as_a_whole),
        cmocka_unit_test(test_abandoned_in_any_phase),
        cmocka_unit_test(test_check_none_and_back),
        cmocka_unit_test(test_nothing_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
