#include "lb4/conf/unix_ends.h"

bool conf_has_unix_listener(const struct conf_service *service)
{
    for (size_t i = 0; i < service->n_listens; i++)
        if (addr_is_unix(&service->listens[i].addr))
            return true;
    return false;
}

/* What the check says of a server's address; NULL = nothing. */
static const char *find_ip_word(const struct conf_check *check)
{
    if (check->port != 0)
        return "port";
    if (check->address.sa.sa_family != AF_UNSPEC)
        return "address";
    return check->source.sa.sa_family != AF_UNSPEC ? "source" : NULL;
}

static void check_unix_server(const struct conf_service *service, const struct conf_server *server,
                              struct conf_report *report)
{
    const char *word = find_ip_word(&service->check);

    if (conf_transports(service) & CONF_UDP)
        conf_report_error(report, &server->place,
                          "server '%s': a Unix socket is for TCP clients only, and the service "
                          "listens on UDP: give UDP a service of its own",
                          server->name);
    if (word)
        conf_report_error(report, &server->place,
                          "server '%s': a Unix socket is probed at its path: 'check %s' is for "
                          "servers with IP addresses",
                          server->name, word);
}

void conf_check_unix(const struct conf_service *service, struct conf_report *report)
{
    bool has_listener = conf_has_unix_listener(service);

    for (size_t i = 0; i < service->n_servers; i++) {
        const struct conf_server *server = &service->servers[i];

        if (addr_is_unix(&server->addr))
            check_unix_server(service, server, report);
        else if (has_listener && !server->is_srv && addr_lacks_port(&server->addr))
            conf_report_error(report, &server->place,
                              "server '%s': without a port it gets the one that a client asked "
                              "for, and clients of a Unix socket ask for none: give it a port",
                              server->name);
    }
}
