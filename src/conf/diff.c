/* Addresses and servers are compared in the model; all other directives as their canonical lines
 * (conf/print.h), so that a directive that is added there needs nothing here. */
#include "lb4/conf/diff.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/conf/access.h"
#include "lb4/conf/diff_servers.h"
#include "lb4/conf/listen_words.h"
#include "lb4/conf/print.h"
#include "lb4/conf/proxies.h"

/* --- directives as text ----------------------------------------------------------------------- */

/* Directives that a running process cannot follow. */
static bool needs_start(const char *line)
{
    static const char *const words[] = {"workers ",  "cpu-affinity ", "cpu-scheduling ",
                                        "io-uring ", "pipes ",        "splice ",
                                        "user ",     "admin ",        "http "};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strncmp(line, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

/* How much of the line tells which directive it is: a word, of `timeout`, `limit` and some of
 * `rate` two. */
static size_t key_length(const char *line)
{
    size_t n = strcspn(line, " ");

    if (strncmp(line, "timeout ", 8) == 0 || strncmp(line, "limit ", 6) == 0 ||
        strncmp(line, "rate per-source ", 16) == 0 || strncmp(line, "rate datagrams ", 15) == 0)
        n += 1 + strcspn(line + n + 1, " ");
    return n;
}

/* A text cut into lines without indentation. */
struct lines {
    char *text;
    char **lines;
    size_t n;
};

static int lines_cut(struct lines *lines)
{
    size_t n_most = 1;
    size_t n = 0;
    char *rest;
    char *line;

    for (const char *at = lines->text; *at; at++)
        n_most += *at == '\n';
    lines->lines = calloc(n_most, sizeof(*lines->lines));
    if (!lines->lines)
        return -ENOMEM;
    for (line = strtok_r(lines->text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        lines->lines[n++] = line + strspn(line, " ");
    lines->n = n;
    return 0;
}

/* Below n there is always one; static analysis wants to hear it. */
static const char *line_at(const struct lines *lines, size_t index)
{
    return lines->lines[index] ? lines->lines[index] : "";
}

static const char *find_line(const struct lines *lines, const char *line)
{
    size_t n = key_length(line);

    for (size_t i = 0; i < lines->n; i++) {
        const char *candidate = line_at(lines, i);

        if (key_length(candidate) == n && memcmp(candidate, line, n) == 0)
            return candidate;
    }
    return NULL;
}

static void lines_fini(struct lines *lines)
{
    free(lines->text);
    free(lines->lines);
}

static int lines_of(struct lines *lines, const struct conf *conf,
                    const struct conf_service *service)
{
    size_t n_bytes;
    FILE *stream;

    *lines = (struct lines){0};
    stream = open_memstream(&lines->text, &n_bytes);
    if (!stream)
        return -ENOMEM;
    if (service)
        conf_print_policy(service, stream);
    else
        conf_print_globals(conf, stream);
    if (fclose(stream) != 0)
        return -ENOMEM;
    return lines_cut(lines);
}

static void write_line(char sign, const char *line, const char *service, const char *before,
                       FILE *stream)
{
    size_t n = before ? key_length(line) : strlen(line);

    fprintf(stream, "%c %.*s%s%s", sign, (int)n, line, service ? " of " : "",
            service ? service : "");
    if (before)
        fprintf(stream, "%s ->%s", before + key_length(before), line + n);
    fprintf(stream, "%s\n", !service && needs_start(line) ? " (at the next start)" : "");
}

static long compare_lines(const struct lines *before, const struct lines *after,
                          const char *service, FILE *stream)
{
    long n = 0;

    for (size_t i = 0; i < before->n; i++) {
        const char *line = line_at(before, i);
        const char *other = find_line(after, line);

        if (other && strcmp(other, line) == 0)
            continue;
        if (other)
            write_line('~', other, service, line, stream);
        else
            write_line('-', line, service, NULL, stream);
        n++;
    }
    for (size_t i = 0; i < after->n; i++) {
        if (find_line(before, line_at(after, i)))
            continue;
        write_line('+', line_at(after, i), service, NULL, stream);
        n++;
    }
    return n;
}

/* Of two services, or, if they are NULL, outside of services. */
static long compare_directives(const struct conf *confs[2], const struct conf_service *services[2],
                               FILE *stream)
{
    struct lines before;
    struct lines after;
    long n = lines_of(&before, confs[0], services[0]);

    if (lines_of(&after, confs[1], services[1]) < 0)
        n = -ENOMEM;
    if (n == 0)
        n = compare_lines(&before, &after, services[0] ? services[0]->name : NULL, stream);
    lines_fini(&before);
    lines_fini(&after);
    return n;
}

/* --- listeners and servers -------------------------------------------------------------------- */

/* On which transports the service listens at this address: enum conf_transport bits. */
static unsigned transports_at(const struct conf_service *service, const struct conf_listen *listen)
{
    unsigned transports = 0;

    for (size_t i = 0; i < service->n_listens; i++) {
        const struct conf_listen *other = &service->listens[i];

        if (other->is_any == listen->is_any && other->last_port == listen->last_port &&
            addr_equal(&other->addr, &listen->addr) && conf_listen_words_equal(other, listen))
            transports |= other->transport;
    }
    return transports;
}

/* Those of `service` that `other` has not, or all. */
static long write_listens(char sign, const struct conf_service *service,
                          const struct conf_service *other, FILE *stream)
{
    char text[CONF_LISTEN_TEXT_MAX];
    char words[CONF_LISTEN_WORDS_MAX];
    long n = 0;

    for (size_t i = 0; i < service->n_listens; i++) {
        struct conf_listen listen = service->listens[i];

        if (other)
            listen.transport &= ~transports_at(other, &listen);
        if (listen.transport == 0)
            continue;
        fprintf(stream, "%c listener %s %s%s of %s\n", sign, conf_transport_word(listen.transport),
                conf_format_listen(&listen, text), conf_format_listen_words(&listen, words),
                service->name);
        n++;
    }
    return n;
}

long conf_diff_service(const struct conf_service *before, const struct conf_service *after,
                       FILE *stream)
{
    const struct conf *none[2] = {NULL, NULL};
    const struct conf_service *both[2] = {before, after};
    long n = compare_directives(none, both, stream);
    long n_servers;

    if (n < 0)
        return n;
    n += conf_access_diff(&before->rules, &after->rules, after->name, stream);
    n += write_listens('-', before, after, stream) + write_listens('+', after, before, stream) +
         conf_proxies_diff(before, after, stream);
    n_servers = conf_diff_servers(before, after, stream);
    return n_servers < 0 ? -ENOMEM : n + n_servers;
}

/* --- the whole -------------------------------------------------------------------------------- */

const struct conf_service *conf_find_service(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->n_services; i++)
        if (strcmp(conf->services[i].name, name) == 0)
            return &conf->services[i];
    return NULL;
}

/* Services of `conf` that `other` has not. */
static long write_services(char sign, const struct conf *conf, const struct conf *other,
                           FILE *stream)
{
    long n = 0;

    for (size_t i = 0; i < conf->n_services; i++) {
        const struct conf_service *service = &conf->services[i];

        if (conf_find_service(other, service->name))
            continue;
        fprintf(stream, "%c service %s\n", sign, service->name);
        n += 1 + write_listens(sign, service, NULL, stream) +
             conf_write_servers(sign, service, stream);
    }
    return n;
}

long conf_diff(const struct conf *before, const struct conf *after, FILE *stream)
{
    const struct conf *both[2] = {before, after};
    const struct conf_service *none[2] = {NULL, NULL};
    long n = compare_directives(both, none, stream);

    if (n < 0)
        return n;
    n += write_services('-', before, after, stream) + write_services('+', after, before, stream);
    for (size_t i = 0; i < after->n_services; i++) {
        const struct conf_service *old = conf_find_service(before, after->services[i].name);
        long found = old ? conf_diff_service(old, &after->services[i], stream) : 0;

        if (found < 0)
            return found;
        n += found;
    }
    return n;
}
