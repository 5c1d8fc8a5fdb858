#include "lb4/conf/origins.h"

#include <string.h>

void conf_origin(const struct origin *service_source, const struct origin *own, struct origin *ret)
{
    *ret = own ? *own : (struct origin){0};
    if (ret->n_sources > 0 || !service_source)
        return;
    ret->n_sources = service_source->n_sources;
    memcpy(ret->sources, service_source->sources, sizeof(ret->sources));
}

/* "10.0.0.9", without the port and the brackets that addr_format() writes. */
static const char *format_host(const struct addr *addr, char text[static ADDR_TEXT_MAX])
{
    size_t n;

    addr_format(addr, text);
    *strrchr(text, ':') = '\0';
    if (text[0] != '[')
        return text;
    n = strlen(text);
    text[n - 1] = '\0';
    return text + 1;
}

static int family_number(int family)
{
    return family == AF_INET6 ? 6 : 4;
}

static void check_server(const struct conf_service *service, const struct conf_server *server,
                         struct conf_report *report)
{
    struct origin origin;
    char source[ADDR_TEXT_MAX];
    char addr[ADDR_TEXT_MAX];
    int family = server->addr.sa.sa_family;

    conf_origin(service->source, server->origin, &origin);
    if (server->host || addr_is_unix(&server->addr) || origin_count(&origin, family) > 0)
        return;
    conf_report_error(report, &server->place,
                      "server '%s': source: %s is IPv%d, and %s is IPv%d: give it a source of its "
                      "family too",
                      server->name, format_host(&origin.sources[0], source),
                      family_number(origin.sources[0].sa.sa_family),
                      format_host(&server->addr, addr), family_number(family));
}

void conf_check_origins(const struct conf_service *service, struct conf_report *report)
{
    for (size_t i = 0; i < service->n_servers; i++)
        check_server(service, &service->servers[i], report);
}

bool conf_has_marks(const struct conf *conf)
{
    for (size_t i = 0; i < conf->n_origins; i++)
        if (conf->origins[i]->mark != 0)
            return true;
    return false;
}

const char *conf_format_origin(const struct origin *origin, char text[static CONF_ORIGIN_TEXT_MAX])
{
    char source[ADDR_TEXT_MAX];
    size_t at = 0;

    text[0] = '\0';
    for (uint32_t i = 0; origin && i < origin->n_sources; i++)
        at += (size_t)snprintf(text + at, CONF_ORIGIN_TEXT_MAX - at, "%s%s",
                               i == 0 ? " source " : ",", format_host(&origin->sources[i], source));
    if (origin && origin->interface[0] != '\0')
        at += (size_t)snprintf(text + at, CONF_ORIGIN_TEXT_MAX - at, " interface %s",
                               origin->interface);
    if (origin && origin->mark != 0)
        snprintf(text + at, CONF_ORIGIN_TEXT_MAX - at, " mark %u", origin->mark);
    return text;
}

static const char *text_or_none(const char *text)
{
    return text[0] != '\0' ? text : " none";
}

long conf_diff_origin(const char *service, const struct conf_server *before,
                      const struct conf_server *after, FILE *stream)
{
    char old_text[CONF_ORIGIN_TEXT_MAX];
    char new_text[CONF_ORIGIN_TEXT_MAX];

    if (origin_equal(before->origin, after->origin))
        return 0;
    fprintf(stream, "~ origin %s/%s%s ->%s\n", service, after->name,
            text_or_none(conf_format_origin(before->origin, old_text)),
            text_or_none(conf_format_origin(after->origin, new_text)));
    return 1;
}
