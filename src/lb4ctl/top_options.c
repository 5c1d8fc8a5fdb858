#include "lb4/lb4ctl/top_options.h"

#include <stdio.h>
#include <string.h>

#include "lb4/base/number.h"

enum { DEFAULT_MS = 1000, NAME_MOST = 64, READINGS_MOST = 1000000000 };

static bool refuse(char message[static TOP_MESSAGE_MAX], const char *word, const char *what)
{
    snprintf(message, TOP_MESSAGE_MAX, "top: '%.64s' %s", word ? word : "", what);
    return false;
}

#define IS(word, name) (strcmp(word, name) == 0)

static bool read_option(struct top_options *options, const char *name, const char *value,
                        char message[static TOP_MESSAGE_MAX])
{
    if (IS(name, "--interval")) {
        if (!value || number_parse_duration(value, TOP_INTERVAL_LEAST_MS, TOP_INTERVAL_MOST_MS,
                                            &options->interval_ms) < 0)
            return refuse(message, value, "is no interval: 200ms..1h, as in 2s");
    } else if (IS(name, "-n")) {
        if (!value || number_parse(value, 1, READINGS_MOST, &options->n_readings) < 0)
            return refuse(message, value, "is no count for -n: 1..1000000000");
    } else if (IS(name, "--sort")) {
        if (!value)
            return refuse(message, value, "is no column: --sort needs a title");
        options->sort = value;
    } else {
        return refuse(message, name, "is no option: --interval, --sort, -n");
    }
    return true;
}

/* It goes into a line to lb4 as it is. */
static bool read_service(struct top_options *options, const char *word,
                         char message[static TOP_MESSAGE_MAX])
{
    static const char name_bytes[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    if (*options->service)
        return refuse(message, word, "is one service too many: one, or all");
    if (!*word || word[strspn(word, name_bytes)] || strlen(word) > NAME_MOST)
        return refuse(message, word, "is no name of a service");
    options->service = word;
    return true;
}

bool top_options_read(struct top_options *options, char *const *words,
                      char message[static TOP_MESSAGE_MAX])
{
    *options = (struct top_options){.service = "", .interval_ms = DEFAULT_MS};
    for (; *words; words++) {
        if (**words != '-') {
            if (!read_service(options, *words, message))
                return false;
            continue;
        }
        if (!read_option(options, words[0], words[1], message))
            return false;
        words++;
    }
    return true;
}
