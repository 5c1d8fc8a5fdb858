#include "lb4/probe/program_wire.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* --- requests --------------------------------------------------------------------------------- */

static bool append(struct program_request *request, const char *bytes, size_t n_bytes)
{
    if (n_bytes > sizeof(request->text) - request->n_bytes)
        return false;
    memcpy(request->text + request->n_bytes, bytes, n_bytes);
    request->n_bytes += (uint32_t)n_bytes;
    return true;
}

bool program_request_begin(struct program_request *request, const char *path, size_t n_path)
{
    request->n_bytes = 0;
    if (n_path >= sizeof(request->text))
        return false;
    return append(request, path, n_path) && append(request, "", 1);
}

bool program_request_env(struct program_request *request, const char *name, const char *value)
{
    size_t n = strlen(name) + 1 + strlen(value) + 1;

    if (n > sizeof(request->text) - request->n_bytes)
        return false;
    append(request, name, strlen(name));
    append(request, "=", 1);
    return append(request, value, strlen(value) + 1);
}

size_t program_request_size(const struct program_request *request)
{
    return offsetof(struct program_request, text) + request->n_bytes;
}

bool program_request_open(const struct program_request *request, size_t n_bytes,
                          const char *ret_env[static PROGRAM_ENV_MAX + 1])
{
    const char *end;
    size_t n_env = 0;

    if (n_bytes < offsetof(struct program_request, text) ||
        request->n_bytes > sizeof(request->text) || n_bytes != program_request_size(request))
        return false;
    ret_env[0] = NULL;
    if (request->timeout_ns == 0)
        return true;
    end = request->text + request->n_bytes;
    if (request->n_bytes == 0 || end[-1] != '\0')
        return false;
    for (const char *at = request->text + strlen(request->text) + 1; at < end;
         at += strlen(at) + 1) {
        if (n_env == PROGRAM_ENV_MAX)
            return false;
        ret_env[n_env++] = at;
    }
    ret_env[n_env] = NULL;
    return true;
}

/* --- output ----------------------------------------------------------------------------------- */

bool program_line_take(char line[static PROGRAM_LINE_MAX], const char *bytes, size_t n_bytes)
{
    size_t n = strlen(line);

    for (size_t i = 0; i < n_bytes; i++) {
        char byte = bytes[i] == '\0' ? ' ' : bytes[i];

        if (n == 0 && isspace((unsigned char)byte))
            continue;
        if (byte == '\n' || n == PROGRAM_LINE_MAX - 1)
            return true;
        line[n++] = byte;
        line[n] = '\0';
    }
    return false;
}

/* --- answers ---------------------------------------------------------------------------------- */

enum health_outcome program_outcome(const struct program_answer *answer)
{
    switch ((enum program_fate)answer->fate) {
    case PROGRAM_EXITED:
        return answer->value == 0 ? HEALTH_OK : HEALTH_FAILED;
    case PROGRAM_KILLED:
    case PROGRAM_TIMED_OUT:
    case PROGRAM_NOT_STARTED:
        return HEALTH_FAILED;
    case PROGRAM_NOT_TRIED:
    case PROGRAM_HOST_BEGINS:
        break;
    }
    return HEALTH_UNKNOWN;
}

/* Blanks at the end go. */
static size_t line_length(const struct program_answer *answer)
{
    size_t n = strnlen(answer->line, sizeof(answer->line));

    while (n > 0 && isspace((unsigned char)answer->line[n - 1]))
        n--;
    return n;
}

static void append_line(const struct program_answer *answer, char text[static PROGRAM_WORDS_MAX])
{
    size_t n_line = line_length(answer);
    size_t n = strlen(text);

    for (size_t i = 0; i < n_line; i++) {
        unsigned char byte = (unsigned char)answer->line[i];
        char shown[8];
        size_t n_shown;

        if (byte == '\t')
            byte = ' ';
        snprintf(shown, sizeof(shown), byte < 0x20 || byte > 0x7e ? "\\x%02x" : "%c", byte);
        n_shown = strlen(shown);
        if (n + n_shown >= PROGRAM_WORDS_MAX)
            return;
        memcpy(text + n, shown, n_shown + 1);
        n += n_shown;
    }
}

static void say_signal(int number, char text[static PROGRAM_WORDS_MAX])
{
    const char *name = sigabbrev_np(number);

    if (name)
        snprintf(text, PROGRAM_WORDS_MAX, "killed by SIG%s", name);
    else
        snprintf(text, PROGRAM_WORDS_MAX, "killed by signal %d", number);
}

static void say_fate(const struct program_answer *answer, char text[static PROGRAM_WORDS_MAX])
{
    switch ((enum program_fate)answer->fate) {
    case PROGRAM_EXITED:
        snprintf(text, PROGRAM_WORDS_MAX, "exit %d", answer->value);
        return;
    case PROGRAM_KILLED:
        say_signal(answer->value, text);
        return;
    case PROGRAM_TIMED_OUT:
        snprintf(text, PROGRAM_WORDS_MAX, "timed out");
        return;
    case PROGRAM_NOT_STARTED:
        snprintf(text, PROGRAM_WORDS_MAX, "the program cannot be started: %s",
                 strerror(answer->value));
        return;
    case PROGRAM_NOT_TRIED:
        snprintf(text, PROGRAM_WORDS_MAX, "lb4 cannot start a program: %s",
                 strerror(answer->value));
        return;
    case PROGRAM_HOST_BEGINS:
        snprintf(text, PROGRAM_WORDS_MAX, "the process that runs programs was lost");
        return;
    }
    snprintf(text, PROGRAM_WORDS_MAX, "no answer that lb4 understands");
}

const char *program_words(const struct program_answer *answer, char text[static PROGRAM_WORDS_MAX])
{
    bool has_line = line_length(answer) > 0;

    if (answer->fate == PROGRAM_TIMED_OUT && !has_line)
        return NULL;
    say_fate(answer, text);
    if (has_line && strlen(text) + 3 < PROGRAM_WORDS_MAX) {
        memcpy(text + strlen(text), ": ", 3);
        append_line(answer, text);
    }
    return text;
}
