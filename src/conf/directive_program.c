/* The program of `check exec`: looked at when the configuration is read, so that a name that is
 * misspelt is found by -t, at the start and by a reload, and not by a server that goes down. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lb4/conf/directive_parts.h"
#include "lb4/conf/value.h"

static bool has_execute_bit(const struct stat *status)
{
    return status->st_mode & (S_IXUSR | S_IXGRP | S_IXOTH);
}

/* Who reads the configuration may be another user than the one who will run the program. */
static void warn_unless_ours(struct reader *reader, const struct lex_line *line, size_t i)
{
    struct conf_place place = reader_place(reader, line, i);
    char quote[CONF_QUOTE_MAX];

    if (faccessat(AT_FDCWD, line->words[i].text, X_OK, AT_EACCESS) < 0)
        conf_report_warn(reader->report, &place,
                         "check exec: %s cannot be executed by user %u, who reads this: %s",
                         conf_quote(line->words[i].text, line->words[i].n_bytes, quote), geteuid(),
                         strerror(errno));
}

bool directive_judge_program(struct reader *reader, const struct lex_line *line, size_t i)
{
    const struct lex_word *word = &line->words[i];
    char quote[CONF_QUOTE_MAX];
    struct stat status;
    const char *wrong = NULL;

    conf_quote(word->text, word->n_bytes, quote);
    if (word->n_bytes > CONF_FILE_MAX) {
        reader_error(reader, line, i, "check exec: a path of %zu bytes, accepted: 2..%d",
                     word->n_bytes, CONF_FILE_MAX);
        return false;
    }
    if (stat(word->text, &status) < 0)
        wrong = errno == EACCES ? NULL : strerror(errno);
    else if (!S_ISREG(status.st_mode))
        wrong = "not a file";
    else if (!has_execute_bit(&status))
        wrong = "not executable, by nobody; chmod +x";
    if (wrong)
        reader_error(reader, line, i, "check exec: %s: %s", quote, wrong);
    else
        warn_unless_ours(reader, line, i);
    return !wrong;
}
