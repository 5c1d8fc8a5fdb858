#include "lb4/shared/note.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N_ROUNDS = 2000000 };

static void test_written_and_read(void **state)
{
    static struct note note;
    char text[NOTE_TEXT_MAX];

    (void)state;
    assert_int_equal(note_read(&note, text), 0);
    assert_string_equal(text, "");
    note_write(&note, 7, "connection refused");
    assert_int_equal(note_read(&note, text), 7);
    assert_string_equal(text, "connection refused");
    note_write(&note, 8, "");
    assert_int_equal(note_read(&note, text), 8);
    assert_string_equal(text, "");
}

static void test_too_long_is_cut(void **state)
{
    static struct note note;
    char text[NOTE_TEXT_MAX];
    char longer[NOTE_TEXT_MAX + 2];

    (void)state;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    note_write(&note, 1, longer);
    note_read(&note, text);
    assert_int_equal(strlen(text), NOTE_TEXT_MAX - 1);
}

/* Texts are one letter over and over, and the time is that letter: no mixture is ever read. */
static void *write_on(void *arg)
{
    struct note *note = arg;
    char text[NOTE_TEXT_MAX];

    for (int i = 0; i < N_ROUNDS; i++) {
        int letter = 'a' + i % 26;

        memset(text, letter, sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        note_write(note, (uint64_t)letter, text);
    }
    note_write(note, 1, "end");
    return NULL;
}

static void test_readers_see_whole_notes(void **state)
{
    static struct note note;
    char text[NOTE_TEXT_MAX];
    pthread_t thread;
    uint64_t since;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, write_on, &note), 0);
    while ((since = note_read(&note, text)) != 1) {
        if (since == 0)
            continue;
        for (size_t i = 0; i < NOTE_TEXT_MAX - 1; i++)
            assert_int_equal(text[i], since);
    }
    assert_string_equal(text, "end");
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_and_read),
        cmocka_unit_test(test_too_long_is_cut),
        cmocka_unit_test(test_readers_see_whole_notes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
