#include "lb4/conf/listen_words.h"

#include <stdio.h>
#include <string.h>

#include "lb4/base/unix_path.h"

const char *conf_format_listen_words(const struct conf_listen *listen,
                                     char text[static CONF_LISTEN_WORDS_MAX])
{
    const struct conf_listen_words *words = &listen->words;
    size_t at = 0;

    text[0] = '\0';
    if (words->interface[0] != '\0')
        at += (size_t)snprintf(text, CONF_LISTEN_WORDS_MAX, " interface %s", words->interface);
    if (words->is_v6only)
        at += (size_t)snprintf(text + at, CONF_LISTEN_WORDS_MAX - at, " v6only");
    if (words->fastopen > 0)
        at += (size_t)snprintf(text + at, CONF_LISTEN_WORDS_MAX - at, " fastopen %u",
                               words->fastopen);
    if (words->defer_s > 0)
        at += (size_t)snprintf(text + at, CONF_LISTEN_WORDS_MAX - at, " defer-accept %us",
                               words->defer_s);
    if (words->mark > 0)
        snprintf(text + at, CONF_LISTEN_WORDS_MAX - at, " mark %u", words->mark);
    if (addr_is_unix(&listen->addr) && !unix_path_is_abstract(listen->addr.un.number))
        snprintf(text, CONF_LISTEN_WORDS_MAX, " mode %04o", words->mode);
    return text;
}

bool conf_listen_words_equal(const struct conf_listen *a, const struct conf_listen *b)
{
    return strcmp(a->words.interface, b->words.interface) == 0 &&
           a->words.is_v6only == b->words.is_v6only && a->words.fastopen == b->words.fastopen &&
           a->words.defer_s == b->words.defer_s && a->words.mark == b->words.mark &&
           a->words.mode == b->words.mode;
}

/* As far as the check tells what the protocol is. */
static bool server_speaks_first(const struct conf_check *check)
{
    return check->kind == CONF_CHECK_MYSQL ||
           (check->kind == CONF_CHECK_SEND && check->n_send == 0);
}

void conf_check_listen_words(const struct conf_service *service, struct conf_report *report)
{
    for (size_t i = 0; i < service->n_listens; i++)
        if (service->listens[i].words.defer_s > 0 && server_speaks_first(&service->check))
            conf_report_warn(report, &service->listens[i].place,
                             "listen: defer-accept: the server speaks first, as the check says: "
                             "each client waits %us for it",
                             service->listens[i].words.defer_s);
}
