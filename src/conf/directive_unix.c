/* Unix sockets as the address of a listener and of a server. */
#include <errno.h>
#include <string.h>

#include "lb4/base/unix_path.h"
#include "lb4/conf/directive_parts.h"
#include "lb4/conf/value.h"

enum { MODE_DIGITS_MAX = 4 };

static const char prefix[] = "unix:";

static bool report(struct reader *reader, const struct lex_line *line, size_t i, const char *reason)
{
    char quote[CONF_QUOTE_MAX];

    reader_error(reader, line, i, "%s: %s: %s", line->words[0].text,
                 conf_quote(line->words[i].text, line->words[i].n_bytes, quote), reason);
    return false;
}

bool directive_read_unix(struct reader *reader, const struct lex_line *line, size_t i,
                         struct addr *ret)
{
    const struct lex_word *word = &line->words[i];
    const char *path = word->text + strlen(prefix);
    char reason[UNIX_PATH_ERROR_MAX];
    long number;

    if (!unix_path_is_valid(path, reason))
        return report(reader, line, i, reason);
    number = unix_path_number(path);
    if (number == -ENOSPC) {
        reader_error(reader, line, i,
                     "%s: more than %d different Unix sockets since lb4 was started: start it anew",
                     line->words[0].text, UNIX_PATHS_MAX);
        return false;
    }
    if (number < 0)
        return report(reader, line, i, "out of memory");
    addr_unix((uint32_t)number, ret);
    return true;
}

bool directive_judge_unix(struct reader *reader, const struct lex_line *line,
                          const char *const *words, const char *what)
{
    for (size_t i = 3; i < line->n_words; i++)
        for (size_t k = 0; words[k]; k++)
            if (strcmp(line->words[i].text, words[k]) == 0) {
                reader_error(reader, line, i, "%s: '%s' is of IP addresses; of a Unix socket: %s",
                             line->words[0].text, words[k], what);
                return false;
            }
    return true;
}

bool directive_read_mode(struct reader *reader, const struct lex_line *line, size_t i,
                         uint32_t *ret)
{
    const struct lex_word *word = &line->words[i];
    size_t n = strspn(word->text, "01234567");
    uint32_t mode = 0;

    for (size_t k = 0; k < n && k <= MODE_DIGITS_MAX; k++)
        mode = mode << 3 | (uint32_t)(word->text[k] - '0');
    if (n == 0 || n != word->n_bytes || n > MODE_DIGITS_MAX || mode > CONF_MODE_MAX)
        return report(reader, line, i, "mode takes octal digits in 0..0777, such as 0660");
    *ret = mode;
    return true;
}
