#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lb4/conf/handlers.h"
#include "lb4/conf/value.h"

static const char *const on_off[] = {"on", "off", NULL};

void directive_workers(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (value_auto(reader, line, 1, (struct value_range){1, CONF_WORKERS_MAX}, &n))
        reader->conf->workers = (uint32_t)n;
}

void directive_cpu_affinity(struct reader *reader, const struct lex_line *line)
{
    static const char *const words[] = {"auto", "off", NULL};
    size_t choice;

    if (value_choice(reader, line, 1, words, &choice))
        reader->conf->cpu_affinity = choice == 0;
}

void directive_cpu_scheduling(struct reader *reader, const struct lex_line *line)
{
    static const char *const words[] = {"auto", "inherit", NULL};
    size_t choice;

    if (value_choice(reader, line, 1, words, &choice))
        reader->conf->tunes_scheduling = choice == 0;
}

void directive_io_uring(struct reader *reader, const struct lex_line *line)
{
    static const char *const words[] = {"auto", "off", NULL};
    size_t choice;

    if (value_choice(reader, line, 1, words, &choice))
        reader->conf->io_uring = choice == 0;
}

void directive_maxconn(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (value_auto(reader, line, 1, (struct value_range){1, CONF_MAXCONN_MAX}, &n))
        reader->conf->maxconn = (uint32_t)n;
}

void directive_pipes(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (!value_auto(reader, line, 1, (struct value_range){0, CONF_PIPES_MAX}, &n))
        return;
    reader->conf->pipes = (uint32_t)n;
    reader->conf->pipes_auto = strcmp(line->words[1].text, "auto") == 0;
}

void directive_splice(struct reader *reader, const struct lex_line *line)
{
    size_t choice;

    if (value_choice(reader, line, 1, on_off, &choice))
        reader->conf->splice = choice == 0;
}

void directive_drain(struct reader *reader, const struct lex_line *line)
{
    value_duration(reader, line, 1, &reader->conf->drain_ms);
}

/* USER[:GROUP], the colon as in chown(1). */
void directive_user(struct reader *reader, const struct lex_line *line)
{
    struct lex_line names = *line;
    const char *colon = strchr(line->words[1].text, ':');
    char user[CONF_NAME_MAX + 1];
    char group[CONF_NAME_MAX + 1] = "";

    names.words[1].text = names.bytes + (line->words[1].text - line->bytes);
    if (colon)
        lex_split_word(&names, 1, (size_t)(colon - line->words[1].text));
    if (!value_name(reader, &names, 1, user) || (colon && !value_name(reader, &names, 2, group)))
        return;
    memcpy(reader->conf->user, user, sizeof(user));
    memcpy(reader->conf->group, group, sizeof(group));
}

void directive_admin(struct reader *reader, const struct lex_line *line)
{
    struct endpoint at;
    char quote[CONF_QUOTE_MAX];

    if (!value_endpoint(reader, line, 1, "unix:/path", &at))
        return;
    if (at.kind != ENDPOINT_UNIX || line->words[1].text[strlen("unix:")] != '/') {
        reader_error(reader, line, 1,
                     "admin: %s is not a Unix socket in a folder, accepted: unix:/path",
                     conf_quote(line->words[1].text, line->words[1].n_bytes, quote));
        return;
    }
    snprintf(reader->conf->admin, sizeof(reader->conf->admin), "%s", line->words[1].text);
}

/* Without an address: for this machine alone. */
void directive_http(struct reader *reader, const struct lex_line *line)
{
    struct endpoint at;
    char quote[CONF_QUOTE_MAX];

    if (!value_endpoint(reader, line, 1, "127.0.0.1:9404, [::1]:9404, :9404", &at))
        return;
    if (at.kind == ENDPOINT_HOST || at.kind == ENDPOINT_UNIX || at.first_port == 0 ||
        at.first_port != at.last_port) {
        reader_error(reader, line, 1,
                     "http: %s is not an address with one port, accepted: 127.0.0.1:9404, :9404",
                     conf_quote(line->words[1].text, line->words[1].n_bytes, quote));
        return;
    }
    if (at.kind == ENDPOINT_ANY)
        addr_parse("127.0.0.1", &at.addr);
    addr_set_port(&at.addr, at.first_port);
    reader->conf->http = at.addr;
    reader->conf->http_place = reader_place(reader, line, 1);
}
