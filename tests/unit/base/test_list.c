#include "lb4/base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N_ITEMS = 16 };

struct item {
    int before; /* so that the link is not at offset 0 */
    struct list link;
    bool is_on_list;
};

static void test_empty(void **state)
{
    struct list head;

    (void)state;
    list_init(&head);
    assert_true(list_is_empty(&head));
    assert_null(list_take_first(&head));
    list_remove(&head); /* on no list: allowed at any time */
    assert_true(list_is_empty(&head));
}

static void test_first_in_first_out(void **state)
{
    struct item items[3];
    struct list head;

    (void)state;
    list_init(&head);
    for (int i = 0; i < 3; i++)
        list_append(&head, &items[i].link);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(container_of(list_take_first(&head), struct item, link), &items[i]);
    assert_true(list_is_empty(&head));
}

static void test_remove_twice(void **state)
{
    struct item items[3];
    struct list head;

    (void)state;
    list_init(&head);
    for (int i = 0; i < 3; i++)
        list_append(&head, &items[i].link);
    list_remove(&items[1].link);
    list_remove(&items[1].link);
    assert_true(list_is_empty(&items[1].link));
    assert_ptr_equal(list_take_first(&head), &items[0].link);
    assert_ptr_equal(list_take_first(&head), &items[2].link);
    assert_null(list_take_first(&head));
}

static size_t check_chain(const struct list *head)
{
    size_t n = 0;

    for (const struct list *at = head->next; at != head; at = at->next, n++) {
        assert_ptr_equal(at->prev->next, at);
        assert_ptr_equal(at->next->prev, at);
    }
    return n;
}

/* After any mix of operations the chain is whole in both directions and has the right length. */
static void test_random_operations(void **state)
{
    struct item items[N_ITEMS] = {{0}};
    struct list head;
    size_t n_on_list = 0;

    (void)state;
    srandom(3);
    list_init(&head);
    for (int i = 0; i < N_ITEMS; i++)
        list_init(&items[i].link);
    for (int round = 0; round < 10000; round++) {
        struct item *item = &items[random() % N_ITEMS];

        if (item->is_on_list)
            list_remove(&item->link);
        else
            list_append(&head, &item->link);
        n_on_list += item->is_on_list ? (size_t)-1 : 1;
        item->is_on_list = !item->is_on_list;
        assert_int_equal(check_chain(&head), n_on_list);
        assert_int_equal(list_is_empty(&head), n_on_list == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_first_in_first_out),
        cmocka_unit_test(test_remove_twice),
        cmocka_unit_test(test_random_operations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
