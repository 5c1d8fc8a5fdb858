#include "lb4/relay/trouble.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/log.h"
#include "lb4/base/origin.h"
#include "lb4/base/proc.h"
#include "lb4/base/sock.h"

/* " from 10.0.0.9", " from any of 3 sources", "" */
static const char *from_text(const struct trouble *trouble, char text[static ADDR_TEXT_MAX])
{
    const struct origin *origin = trouble->origin;
    char addr[ADDR_TEXT_MAX];

    text[0] = '\0';
    if (!origin || origin->n_sources == 0)
        return text;
    addr_format(&origin->sources[0], addr);
    *strrchr(addr, ':') = '\0';
    if (origin->n_sources == 1)
        snprintf(text, ADDR_TEXT_MAX, " from %.50s", addr);
    else
        snprintf(text, ADDR_TEXT_MAX, " from any of %u sources", origin->n_sources);
    return text;
}

/* Two files of /proc are read here: once in LOCAL_SAY_NS. */
static void say_ports(const struct service *service, const struct trouble *trouble, const char *to,
                      const char *from)
{
    struct proc_ports ports;

    proc_ports_read(&ports);
    log_warn("service %s: no local port is left towards %s%s: all %u ports of "
             "net.ipv4.ip_local_port_range (%u-%u) are in use or in TIME_WAIT; give the service %s "
             "with `source`, or widen net.ipv4.ip_local_port_range",
             service->name, to, from, proc_ports_count(&ports), ports.first, ports.last,
             trouble->origin && trouble->origin->n_sources > 0 ? "more addresses"
                                                               : "addresses of this machine");
}

static void say(const struct service *service, const struct trouble *trouble,
                enum local_cause cause)
{
    char to[ADDR_TEXT_MAX];
    char from[ADDR_TEXT_MAX];

    addr_format(trouble->to, to);
    from_text(trouble, from);
    switch (cause) {
    case LOCAL_PORTS:
        say_ports(service, trouble, to, from);
        break;
    case LOCAL_SOURCE:
        if (abs(trouble->error) == EINVAL)
            log_warn("service %s: no connect to %s%s: there is no way from the one to the other; a "
                     "`source` on loopback reaches this machine alone",
                     service->name, to, from);
        else
            log_warn(
                "service %s: no connect to %s%s: no such address on this machine; `source` names "
                "addresses of its own, of the server's family",
                service->name, to, from);
        break;
    case LOCAL_INTERFACE:
        log_warn("service %s: no connect to %s: there is no interface '%s' (ip link)",
                 service->name, to, trouble->origin ? trouble->origin->interface : "");
        break;
    case LOCAL_DESCRIPTORS:
    case LOCAL_MEMORY:
    case LOCAL_FORBIDDEN:
    case LOCAL_OTHER:
    case LOCAL_CAUSES:
        log_warn("service %s: no connect to %s%s: %s%s", service->name, to, from,
                 strerror(abs(trouble->error)),
                 trouble->step == ORIGIN_MARK ? " (`mark` needs CAP_NET_ADMIN or CAP_NET_RAW)"
                                              : ", a trouble of this machine, not of the server");
        break;
    }
}

bool trouble_lasts(const struct stats_server *server, struct trouble *trouble, uint64_t now_ns)
{
    uint64_t since_ns = stats_read(&server->portless_ns);

    trouble->step = ORIGIN_CONNECT;
    trouble->is_known = since_ns != 0 && now_ns - since_ns < TROUBLE_LASTS_NS;
    return trouble->is_known;
}

void trouble_note(struct stats_service *stats, struct stats_server *server, struct service *service,
                  const struct trouble *trouble, uint64_t now_ns)
{
    enum local_cause cause = local_cause_of(trouble->error, trouble->step);

    if (!origin_error_is_ours(trouble->to, trouble->error))
        return;
    if (cause == LOCAL_PORTS && !trouble->is_known)
        stats_set(&server->portless_ns, now_ns);
    stats_add(&stats->local.errors[cause], 1);
    if (local_say_is_due(&service->local_say, now_ns))
        say(service, trouble, cause);
}
