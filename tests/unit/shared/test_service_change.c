#include "lb4/shared/backend_write.h"
#include "lb4/shared/service_change.h"

#include <errno.h>
#include <stdlib.h>

#include "service_rig.h"

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static int allocations_left = -1; /* -1 = no end */

static bool may_allocate(void)
{
    return allocations_left < 0 || allocations_left-- > 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

static struct service_table table;
static struct service *service;

/* A service of the servers first..first+n-1, all of weight 1. */
static struct conf_service conf_of(size_t first, size_t n, enum conf_check_kind check)
{
    return (struct conf_service){
        .name = "s",
        .servers = &conf_servers[first],
        .n_servers = n,
        .balance = CONF_BALANCE_SOURCE,
        .tries = 3,
        .check = {.kind = check, .interval_ms = 1000, .timeout_ms = 500, .fast_ms = 200},
    };
}

static void name_server(size_t i, uint16_t port, uint32_t weight)
{
    conf_servers[i] = (struct conf_server){.weight = weight};
    addr_any(AF_INET, port, &conf_servers[i].addr);
    snprintf(conf_servers[i].name, sizeof(conf_servers[i].name), "s%zu", i);
}

static void open_with(size_t n, enum conf_check_kind check)
{
    struct conf_service from = conf_of(0, n, check);
    const struct conf conf = {.services = &from, .n_services = 1};

    for (size_t i = 0; i < N_MOST; i++)
        name_server(i, (uint16_t)(1000 + i), 1);
    assert_int_equal(service_table_init(&table, &conf), 0);
    service = &table.services[0];
}

static int teardown(void **state)
{
    (void)state;
    service_table_fini(&table);
    return 0;
}

static void run(const struct conf_service *from)
{
    struct service_change change;

    assert_int_equal(service_prepare(&table, service, from, &change), 0);
    service_commit(&change);
    service_activate(&change);
    service_change_fini(&table, &change);
}

static struct backend *find(const char *name, enum backend_state state)
{
    for (size_t i = 0; i < service->n_places; i++)
        if (service->backends[i].state == state && strcmp(service->backends[i].name, name) == 0)
            return &service->backends[i];
    return NULL;
}

static void test_phases(void **state)
{
    struct conf_service from = conf_of(1, 2, CONF_CHECK_TCP);
    const struct service_plan *before;
    struct service_change change;
    struct backend *left;
    struct backend *added;

    (void)state;
    open_with(2, CONF_CHECK_TCP);
    before = service_plan(service);
    assert_int_equal(service_prepare(&table, service, &from, &change), 0);
    left = find("s0", BACKEND_SERVING);
    added = find("s2", BACKEND_ADDED);
    assert_non_null(added);
    assert_int_equal(added->index, 2);
    assert_true(backend_standing(added) & PICK_GONE);
    assert_int_equal(backend_standing(left), 1);
    assert_ptr_equal(service_plan(service), before);
    service_commit(&change);
    assert_ptr_not_equal(service_plan(service), before);
    assert_int_equal(backend_standing(left), 1);      /* it serves until the other one may */
    assert_true(backend_standing(added) & PICK_GONE); /* somebody may have the new plan already */
    service_activate(&change);
    assert_true(backend_standing(left) & PICK_GONE);
    assert_int_equal(left->state, BACKEND_GONE);
    assert_int_equal(added->state, BACKEND_SERVING);
    assert_int_equal(backend_standing(added), 1 | PICK_NEW);
    assert_ptr_equal(service_plan(service)->check, before->check); /* the very same */
    service_change_fini(&table, &change);
}

/* Where nobody else serves, or no probe comes, there is nothing to wait for. */
static void test_new_without_waiting(void **state)
{
    struct conf_service from = conf_of(2, 2, CONF_CHECK_TCP);

    (void)state;
    open_with(2, CONF_CHECK_TCP);
    run(&from);
    assert_int_equal(backend_standing(find("s2", BACKEND_SERVING)), 1);
    assert_int_equal(backend_standing(find("s3", BACKEND_SERVING)), 1);
    from = conf_of(2, 3, CONF_CHECK_NONE);
    run(&from);
    assert_int_equal(backend_standing(find("s4", BACKEND_SERVING)), 1);
}

static void run_keeping(const struct conf_service *from)
{
    struct service_change change;

    assert_int_equal(service_prepare(&table, service, from, &change), 0);
    change.keeps_leaving = true;
    service_commit(&change);
    service_activate(&change);
    service_change_fini(&table, &change);
}

/* A change may ask those that leave to serve on, until one of the others can. */
static void test_kept(void **state)
{
    struct conf_service from = conf_of(2, 1, CONF_CHECK_TCP);
    struct backend *left;
    struct backend *added;
    uint32_t era;

    (void)state;
    open_with(2, CONF_CHECK_TCP);
    run_keeping(&from);
    left = find("s0", BACKEND_GONE);
    added = find("s2", BACKEND_SERVING);
    assert_int_equal(backend_standing(left), 1);
    assert_int_equal(backend_standing(added), 1 | PICK_NEW);
    assert_true(service_release(service));

    /* Through further changes, of a place behind theirs, and of a weight. */
    backend_set(added, PICK_DOWN);
    backend_clear(added, PICK_NEW);
    from = conf_of(3, 1, CONF_CHECK_TCP);
    run_keeping(&from);
    assert_int_equal(backend_standing(left), 1);
    assert_true(backend_standing(find("s3", BACKEND_SERVING)) & PICK_NEW);
    assert_true(service_plan(service)->n_backends > left->index);
    assert_true(service_release(service));

    backend_clear(find("s3", BACKEND_SERVING), PICK_NEW);
    era = waiting_era(&service->waiting);
    assert_false(service_release(service));
    assert_true(backend_standing(left) & PICK_GONE);
    assert_int_equal(waiting_era(&service->waiting), era + 1);
    assert_false(service_release(service));
    assert_int_equal(waiting_era(&service->waiting), era + 1);
}

/* There is nobody to wait for, or nothing. */
static void test_not_kept(void **state)
{
    struct conf_service from = conf_of(1, 2, CONF_CHECK_TCP);

    (void)state;
    open_with(2, CONF_CHECK_TCP);
    run_keeping(&from);
    assert_true(backend_standing(find("s0", BACKEND_GONE)) & PICK_GONE);
    backend_set(find("s1", BACKEND_SERVING), PICK_DOWN);
    backend_set(find("s2", BACKEND_SERVING), PICK_DOWN);
    from = conf_of(3, 1, CONF_CHECK_TCP);
    run_keeping(&from);
    assert_int_equal(backend_standing(find("s3", BACKEND_SERVING)), 1);
    assert_true(backend_standing(find("s1", BACKEND_GONE)) & PICK_GONE);
    from = conf_of(4, 1, CONF_CHECK_NONE);
    run_keeping(&from);
    assert_int_equal(backend_standing(find("s4", BACKEND_SERVING)), 1);
    assert_true(backend_standing(find("s3", BACKEND_GONE)) & PICK_GONE);
}

/* Without servers, as of names that are not found. */
static void test_nobody(void **state)
{
    struct conf_service from = conf_of(0, 2, CONF_CHECK_TCP);
    struct addr client;

    (void)state;
    addr_any(AF_INET, 1, &client);
    for (int i = 0; i < N_POLICIES; i++) {
        struct conf_service none_yet = conf_of(0, 0, CONF_CHECK_TCP);

        open_with(0, CONF_CHECK_TCP);
        none_yet.balance = from.balance = (enum conf_balance)i;
        run(&none_yet);
        assert_null(
            service_choose(service, &(struct service_client){.addr = &client, .tried = &none}));
        run_keeping(&from);
        assert_int_equal(backend_standing(find("s0", BACKEND_SERVING)), 1);
        if (i + 1 < N_POLICIES)
            service_table_fini(&table);
    }
}

static void test_same_servers_keep_everything(void **state)
{
    struct conf_service from = conf_of(0, 3, CONF_CHECK_TCP);
    struct backend *kept;

    (void)state;
    open_with(3, CONF_CHECK_TCP);
    kept = find("s1", BACKEND_SERVING);
    backend_acquire(kept);
    backend_set(kept, PICK_DOWN | PICK_DRAIN | PICK_SUSPECT);
    conf_servers[1].is_backup = true;
    conf_servers[1].weight = 9;
    run(&from);
    assert_ptr_equal(find("s1", BACKEND_SERVING), kept);
    assert_int_equal(backend_active(kept), 1);
    assert_int_equal(backend_standing(kept),
                     9 | PICK_BACKUP | PICK_DOWN | PICK_DRAIN | PICK_SUSPECT);
    conf_servers[1].is_backup = false;
    run(&from);
    assert_int_equal(backend_standing(kept), 9 | PICK_DOWN | PICK_DRAIN | PICK_SUSPECT);
    assert_int_equal(service_plan(service)->most_weight, 9);
    backend_release(kept);
}

static void test_weight_of_an_operator(void **state)
{
    struct conf_service from = conf_of(0, 3, CONF_CHECK_TCP);
    struct service_change change;
    struct backend *backend;
    struct backend *other;

    (void)state;
    open_with(3, CONF_CHECK_TCP);
    backend = find("s1", BACKEND_SERVING);
    other = find("s2", BACKEND_SERVING);
    backend_set(other, PICK_BACKUP | PICK_DOWN);
    assert_int_equal(service_prepare_weight(service, backend, 50, &change), 0);
    service_commit(&change);
    service_activate(&change);
    service_change_fini(&table, &change);
    assert_int_equal(backend_weight(backend), 50);
    assert_int_equal(backend_standing(other), 1 | PICK_BACKUP | PICK_DOWN);
    assert_int_equal(service_plan(service)->most_weight, 50);
    assert_int_equal(service_plan(service)->tries, 3);
    run(&from);
    assert_int_equal(backend_weight(backend), 50);
    conf_servers[1].weight = 2;
    run(&from);
    assert_int_equal(backend_weight(backend), 2);
}

/* One that comes back beside its last connections is what the operator had made of it. */
static void test_wishes_of_one_that_comes_back(void **state)
{
    struct conf_service all = conf_of(0, 3, CONF_CHECK_TCP);
    struct conf_service without = conf_of(0, 2, CONF_CHECK_TCP);
    struct backend *gone;
    char text[NOTE_TEXT_MAX];

    (void)state;
    open_with(3, CONF_CHECK_TCP);
    gone = find("s2", BACKEND_SERVING);
    backend_configure(gone, 7);
    backend_set(gone, PICK_MAINT | PICK_DOWN);
    note_write(&gone->wish, 5, "uid 1");
    backend_acquire(gone);
    run(&without);
    assert_ptr_equal(find("s2", BACKEND_GONE), gone);
    run(&all);
    assert_int_equal(backend_standing(find("s2", BACKEND_SERVING)), 7 | PICK_MAINT | PICK_NEW);
    assert_int_equal(note_read(&find("s2", BACKEND_SERVING)->wish, text), 5);
    assert_string_equal(text, "uid 1");
    run(&without);
    conf_servers[2].weight = 3; /* that has changed, and counts */
    run(&all);
    assert_int_equal(backend_standing(find("s2", BACKEND_SERVING)), 3 | PICK_MAINT | PICK_NEW);
    run(&without);
    name_server(2, 99, 3); /* another server */
    run(&all);
    assert_int_equal(backend_standing(find("s2", BACKEND_SERVING)), 3 | PICK_NEW);
    backend_release(gone);
}

/* What is not to be leaves no place, no number. */
static void test_not_to_be(void **state)
{
    struct conf_service from = conf_of(0, 6, CONF_CHECK_NONE);
    const struct service_plan *before;
    struct service_change change;

    (void)state;
    open_with(2, CONF_CHECK_TCP);
    before = service_plan(service);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(service_prepare(&table, service, &from, &change), 0);
        assert_int_equal(service->n_places, 6);
        service_change_fini(&table, &change);
        assert_ptr_equal(service_plan(service), before);
        assert_null(find("s2", BACKEND_ADDED));
        assert_null(table.by_number[2]);
        assert_int_equal(table.first_free, 2);
    }
}

static void test_out_of_memory(void **state)
{
    struct conf_service from = conf_of(1, 4, CONF_CHECK_NONE);
    struct service_change change;
    int error = -ENOMEM;
    int n;

    (void)state;
    open_with(3, CONF_CHECK_TCP);
    for (n = 0; error; n++) {
        allocations_left = n;
        error = service_prepare(&table, service, &from, &change);
        allocations_left = -1;
        assert_true(error == 0 || error == -ENOMEM);
        assert_int_equal(find("s3", BACKEND_ADDED) != NULL, error == 0);
        assert_int_equal(table.by_number[4] != NULL, error == 0);
    }
    assert_true(n > 5);
    service_change_fini(&table, &change);
    error = -ENOMEM;
    for (n = 0; error; n++) {
        allocations_left = n;
        error = service_prepare_weight(service, &service->backends[1], 5, &change);
        allocations_left = -1;
    }
    assert_true(n > 3);
    assert_int_equal(backend_weight(&service->backends[1]), 1);
    service_change_fini(&table, &change);
}

/* The other half of the places is for those that are gone; then it is refused, as a whole. */
static void test_no_place(void **state)
{
    struct conf_server *servers = calloc(CONF_SERVERS_MAX, sizeof(*servers));
    struct conf_service from = conf_of(0, 0, CONF_CHECK_NONE);
    struct service_change change;

    (void)state;
    open_with(1, CONF_CHECK_NONE);
    from.servers = servers;
    from.n_servers = CONF_SERVERS_MAX;
    from.balance = CONF_BALANCE_LEASTCONN;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < CONF_SERVERS_MAX; i++) {
            servers[i].weight = 1;
            addr_any(AF_INET, (uint16_t)(1 + round), &servers[i].addr);
            snprintf(servers[i].name, sizeof(servers[i].name), "x%zu", i);
        }
        if (round == 0)
            run(&from);
    }
    assert_int_equal(service_prepare(&table, service, &from, &change), -ENOSPC);
    assert_non_null(find("x0", BACKEND_SERVING));
    assert_null(find("x0", BACKEND_ADDED));
    service_free_backend(&table, service, find("s0", BACKEND_GONE), &(struct stats_server_sum){0});
    assert_int_equal(service_prepare(&table, service, &from, &change), 0);
    service_change_fini(&table, &change);
    free(servers);
}

/* Place and number are the next one's; what the counters said goes to who has the name. */
static void test_freed_places_are_taken_again(void **state)
{
    struct conf_service from = conf_of(0, 3, CONF_CHECK_NONE);
    const struct stats_server_sum left = {.connections = 5, .checks_ok = 2};
    struct backend *old;
    struct backend *heir;

    (void)state;
    open_with(3, CONF_CHECK_NONE);
    old = find("s1", BACKEND_SERVING);
    name_server(1, 7777, 1);
    run(&from);
    heir = find("s1", BACKEND_SERVING);
    assert_ptr_not_equal(heir, old);
    assert_int_equal(heir->stats_index, 3);
    service_free_backend(&table, service, old, &left);
    assert_int_equal(heir->carried.connections, 5);
    assert_int_equal(heir->carried.checks_ok, 2);
    assert_int_equal(backend_standing(old), PICK_GONE);
    from = conf_of(0, 4, CONF_CHECK_NONE);
    run(&from);
    assert_ptr_equal(find("s3", BACKEND_SERVING), old);
    assert_int_equal(old->index, 1);
    assert_int_equal(old->stats_index, 1);
    assert_int_equal(backend_standing(old), 1);
    assert_int_equal(old->carried.connections, 0);
}

/* Two of a name have left, and one of them ends: the other's series goes on from the sum. */
static void test_counters_go_to_one_that_has_left(void **state)
{
    struct conf_service from = conf_of(0, 3, CONF_CHECK_NONE);
    const struct stats_server_sum left = {.connections = 5};
    struct backend *first;
    struct backend *second;

    (void)state;
    open_with(3, CONF_CHECK_NONE);
    first = find("s2", BACKEND_SERVING);
    name_server(2, 7777, 1);
    run(&from);
    second = find("s2", BACKEND_SERVING);
    from = conf_of(0, 2, CONF_CHECK_NONE);
    run(&from);
    assert_int_equal(second->state, BACKEND_GONE);
    service_free_backend(&table, service, first, &left);
    assert_int_equal(second->carried.connections, 5);
}

static void test_services_come_and_go(void **state)
{
    struct conf_service from = conf_of(0, 2, CONF_CHECK_NONE);
    struct service_change change;
    struct service *second;

    (void)state;
    open_with(2, CONF_CHECK_NONE);
    for (int i = 0; i < 3; i++) {
        second = service_table_add(&table, "second");
        assert_int_equal(second->index, 1);
        assert_null(service_plan(second));
        assert_int_equal(service_prepare(&table, second, &from, &change), 0);
        service_commit(&change);
        service_activate(&change);
        service_change_fini(&table, &change);
        assert_ptr_equal(service_table_find(&table, "second"), second);
        assert_int_equal(second->backends[1].stats_index, 3);
        service_retire(second);
        assert_null(service_table_find(&table, "second"));
        assert_true(backend_standing(&second->backends[0]) & PICK_GONE);
        service_table_drop(&table, second);
        assert_null(table.by_number[2]);
        assert_int_equal(table.n_services, 2);
    }
}

/* A reload for something else does not take out who was kept, while names may bring others. What it
 * leaves out itself goes. */
static void test_kept_through_a_reload(void **state)
{
    struct conf_server written = {.host = (char[]){"a.example"}};
    struct conf_service from = conf_of(2, 1, CONF_CHECK_TCP);
    struct backend *left;

    (void)state;
    open_with(2, CONF_CHECK_TCP);
    run_keeping(&from);
    left = find("s0", BACKEND_GONE);
    from = conf_of(3, 1, CONF_CHECK_TCP);
    from.written = &written;
    from.n_written = 1;
    run(&from);
    assert_int_equal(backend_standing(left), 1);
    assert_true(backend_standing(find("s2", BACKEND_GONE)) & PICK_GONE);
    assert_true(backend_standing(find("s3", BACKEND_SERVING)) & PICK_NEW);
    from.written = NULL;
    from.n_written = 0;
    run(&from);
    assert_true(backend_standing(left) & PICK_GONE);
}

/* Who was kept goes with the service. */
static void test_kept_until_the_service_goes(void **state)
{
    struct conf_service from = conf_of(2, 1, CONF_CHECK_TCP);
    struct backend *left;

    (void)state;
    open_with(2, CONF_CHECK_TCP);
    run_keeping(&from);
    left = find("s0", BACKEND_GONE);
    assert_false(backend_standing(left) & PICK_GONE);
    service_retire(service);
    assert_true(backend_standing(left) & PICK_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_phases, teardown),
        cmocka_unit_test_teardown(test_new_without_waiting, teardown),
        cmocka_unit_test_teardown(test_kept, teardown),
        cmocka_unit_test_teardown(test_not_kept, teardown),
        cmocka_unit_test_teardown(test_nobody, teardown),
        cmocka_unit_test_teardown(test_same_servers_keep_everything, teardown),
        cmocka_unit_test_teardown(test_weight_of_an_operator, teardown),
        cmocka_unit_test_teardown(test_wishes_of_one_that_comes_back, teardown),
        cmocka_unit_test_teardown(test_not_to_be, teardown),
        cmocka_unit_test_teardown(test_out_of_memory, teardown),
        cmocka_unit_test_teardown(test_no_place, teardown),
        cmocka_unit_test_teardown(test_freed_places_are_taken_again, teardown),
        cmocka_unit_test_teardown(test_counters_go_to_one_that_has_left, teardown),
        cmocka_unit_test_teardown(test_services_come_and_go, teardown),
        cmocka_unit_test_teardown(test_kept_until_the_service_goes, teardown),
        cmocka_unit_test_teardown(test_kept_through_a_reload, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
