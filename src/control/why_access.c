#include "lb4/control/why_access.h"

#include <stdio.h>

#include "lb4/conf/access.h"

enum { PLACE_MAX = 300, SHOWN_MAX = 120 };

/* ", FILE:LINE" of the line that decides, and of the list's if it has one. */
static const char *format_place(const struct conf_access_rule *rule, uint32_t line,
                                char text[static PLACE_MAX])
{
    int n = snprintf(text, PLACE_MAX, "%.*s:%u", SHOWN_MAX, rule->place.file, rule->place.line);

    if (rule->list)
        snprintf(text + n, PLACE_MAX - (size_t)n, ", %.*s:%u", SHOWN_MAX, rule->list->file, line);
    return text;
}

static const char *fate(const struct conf_service *service)
{
    bool has_tcp = conf_transports(service) & CONF_TCP;
    bool has_udp = conf_transports(service) & CONF_UDP;

    if (!has_tcp)
        return "its datagrams are dropped";
    switch (service->rules.refuse) {
    case CONF_REFUSE_UNSET:
    case CONF_REFUSE_RESET:
        return has_udp ? "its connections are reset, its datagrams dropped"
                       : "its connections are reset";
    case CONF_REFUSE_CLOSE:
        return has_udp ? "its connections are closed, its datagrams dropped"
                       : "its connections are closed";
    case CONF_REFUSE_SILENT:
        return has_udp ? "its connections are dropped in silence, and its datagrams"
                       : "its connections are dropped in silence";
    }
    return "?";
}

static bool say_no_rule(const struct conf_service *service, char *text)
{
    bool allows = conf_access_allows_others(&service->rules);

    if (allows)
        snprintf(text, WHY_ACCESS_MAX, "The client is let in: no deny has its address.");
    else
        snprintf(text, WHY_ACCESS_MAX, "The client is denied (%s): no allow has its address.",
                 fate(service));
    return allows;
}

bool why_access(const struct conf_service *service, const struct addr *client,
                char text[static WHY_ACCESS_MAX])
{
    const struct conf_access_rule *rule;
    char word[ACCESS_RULE_TEXT_MAX];
    char place[PLACE_MAX];
    uint32_t line;

    text[0] = '\0';
    if (service->rules.n == 0)
        return true;
    rule = conf_access_find(&service->rules, client, &line);
    if (!rule)
        return say_no_rule(service, text);
    conf_access_text(rule, word);
    format_place(rule, line, place);
    if (rule->allows)
        snprintf(text, WHY_ACCESS_MAX, "The client is let in by: allow %.*s (%s).", SHOWN_MAX, word,
                 place);
    else
        snprintf(text, WHY_ACCESS_MAX, "The client is denied (%s) by: deny %.*s (%s).",
                 fate(service), SHOWN_MAX, word, place);
    return rule->allows;
}
